//! How many receive buffers of a group each connection may have granted: credits have to come out
//! of what is really posted.

use smb_direct::Settings;

/// Buffers that each connection is sure of: the least credits, and one for its negotiate message,
/// which is later for the message whose answer is going out.
const SURE: u32 = Settings::LEAST_CREDITS as u32 + 1;

/// The receives of one group. The first connections get many, and each that the group has a place
/// for gets at least [`LEAST_CREDITS`](Settings::LEAST_CREDITS).
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    free: u32,
    places: u32,
}

impl Budget {
    /// Of `receives` buffers for up to `connections`.
    ///
    /// # Errors
    /// They are too few; so many are needed.
    pub fn new(receives: u32, connections: u32) -> Result<Self, u32> {
        let needed = connections.checked_mul(SURE).ok_or(u32::MAX)?;
        if receives < needed { Err(needed) } else { Ok(Self { free: receives, places: connections }) }
    }

    /// Receives that so many connections are sure of.
    pub(crate) fn needed(connections: u32) -> u32 {
        connections.saturating_mul(SURE)
    }

    /// Takes the credits of a new connection, `most` at most; `None` if all places are taken.
    ///
    /// ```
    /// use smbd::Budget;
    ///
    /// let mut budget = Budget::new(64, 2).expect("they are enough");
    /// let first = budget.take(255).expect("a place");
    /// assert!(first < 64, "the other is sure of some");
    /// assert!(budget.take(255).is_some() && budget.take(255).is_none());
    /// budget.give_back(first);
    /// assert!(budget.take(4).is_some());
    /// ```
    pub fn take(&mut self, most: u16) -> Option<u16> {
        self.places = self.places.checked_sub(1)?;
        let beyond = self.free - SURE * (self.places + 1);
        let credits =
            Settings::LEAST_CREDITS + most.saturating_sub(Settings::LEAST_CREDITS).min(u16::try_from(beyond / 4).unwrap_or(u16::MAX));
        self.free -= u32::from(credits) + 1;
        Some(credits)
    }

    /// Gives back what [`take`](Self::take) gave.
    pub fn give_back(&mut self, credits: u16) {
        self.free += u32::from(credits) + 1;
        self.places += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_gets_the_least_and_the_first_ones_more() {
        let mut budget = Budget::new(1024, 100).expect("enough");
        let credits: Vec<u16> = (0..100).map(|_| budget.take(255).expect("a place")).collect();
        assert_eq!(credits[0], 4 + (1024 - 500) / 4);
        assert!(credits.iter().all(|credits| *credits >= 4) && credits.is_sorted_by(|a, b| a >= b), "{credits:?}");
        assert!(credits.iter().map(|credits| u32::from(*credits) + 1).sum::<u32>() <= 1024);
        assert_eq!(budget.take(255), None);
        for credits in credits {
            budget.give_back(credits);
        }
        assert_eq!((budget.free, budget.places), (1024, 100));
    }

    #[test]
    fn too_few_receives_are_told_with_the_number() {
        assert_eq!(Budget::new(499, 100).unwrap_err(), 500);
        assert!(Budget::new(500, 100).is_ok());
        assert_eq!(Budget::new(500, 100).unwrap().take(255), Some(4));
        assert!(Budget::new(u32::MAX, u32::MAX).is_err());
    }

    #[test]
    fn nobody_gets_more_than_was_asked_for() {
        assert_eq!(Budget::new(10_000, 1).unwrap().take(20), Some(20));
        assert_eq!(Budget::new(10_000, 1).unwrap().take(0), Some(4));
    }
}
