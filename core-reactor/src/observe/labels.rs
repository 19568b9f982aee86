//! Short numbers for the names of what runs, so that a name is one store.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::Name;

/// The number of a name in its set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Label(pub(super) u16);

/// Names that have a number. Those that come later share one: an application that makes up names
/// all the time does not fill the memory.
const LABELS: usize = 4096;

/// What no poller can be called, in the order of the numbers.
const OWN: [&str; 5] = ["(others)", "(messages)", "(events)", "(idle pollers)", "(between turns)"];

impl Label {
    pub(super) const OTHERS: Self = Self(0);
    pub(crate) const MESSAGES: Self = Self(1);
    pub(super) const EVENTS: Self = Self(2);
    pub(super) const IDLE: Self = Self(3);
    pub(super) const BETWEEN: Self = Self(4);
}

/// For what has no name.
impl Default for Label {
    fn default() -> Self {
        Self::OTHERS
    }
}

/// The names of a set, by their numbers.
pub(super) struct Labels {
    names: Vec<Name>,
    by_name: BTreeMap<Name, u16>,
}

impl Labels {
    pub(super) fn new() -> Self {
        Self { names: OWN.map(crate::Name::from).into(), by_name: BTreeMap::new() }
    }

    /// The label of a name, a new one if there is room.
    pub(super) fn of(&mut self, name: &Name) -> Label {
        if let Some(number) = self.by_name.get(name) {
            return Label(*number);
        }
        let number = self.names.len() as u16;
        if self.names.len() == LABELS {
            return Label::OTHERS;
        }
        self.names.push(name.clone());
        self.by_name.insert(name.clone(), number);
        Label(number)
    }

    pub(super) fn name(&self, label: Label) -> Name {
        self.names.get(usize::from(label.0)).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn s182_names_beyond_the_bound_share_a_label() {
        let mut labels = Labels::new();
        let numbered = |n: usize| crate::Name::from(&*format!("poller {n}"));
        let first: Vec<_> = (0..LABELS).map(|n| labels.of(&numbered(n))).collect();
        assert_eq!(labels.names.len(), LABELS);
        assert_eq!(first[LABELS - OWN.len() - 1..LABELS - OWN.len() + 1], [Label(LABELS as u16 - 1), Label::OTHERS]);
        assert_eq!((labels.of(&numbered(7)), labels.name(first[7])), (first[7], numbered(7)));
        assert_eq!(labels.name(Label::EVENTS), "(events)");
    }
}
