//! Who decides, wherever several things may happen: chance, or a walk through all ways.

/// Decisions, from a seed or from a path. What is decided as 0 is what happens on an ordinary day.
#[derive(Debug)]
pub(crate) struct Chooser {
    how: How,
    /// From here on everything is ordinary.
    calm: bool,
}

#[derive(Debug)]
enum How {
    Chance(u64),
    /// What is decided at each point, of how many; beyond its end all is ordinary.
    Path {
        path: Vec<(usize, usize)>,
        at: usize,
        most: usize,
    },
}

impl Chooser {
    pub(crate) fn of_seed(seed: u64) -> Self {
        Self { how: How::Chance(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1), calm: false }
    }

    /// The first of all ways with so many decisions.
    pub(crate) fn first(most: usize) -> Self {
        Self { how: How::Path { path: Vec::new(), at: 0, most }, calm: false }
    }

    /// The way after this one; `None` behind the last.
    pub(crate) fn next_way(self) -> Option<Self> {
        let How::Path { mut path, most, .. } = self.how else { return None };
        while let Some((decided, of)) = path.pop() {
            if decided + 1 < of {
                path.push((decided + 1, of));
                return Some(Self { how: How::Path { path, at: 0, most }, calm: false });
            }
        }
        None
    }

    /// One of `of` things.
    pub(crate) fn pick(&mut self, of: usize) -> usize {
        if self.calm || of < 2 {
            return 0;
        }
        match &mut self.how {
            How::Chance(state) => {
                // xorshift64*
                *state ^= *state >> 12;
                *state ^= *state << 25;
                *state ^= *state >> 27;
                (state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % of
            }
            How::Path { path, at, most } => {
                if *at == *most {
                    return 0;
                }
                if *at == path.len() {
                    path.push((0, of));
                }
                *at += 1;
                path[*at - 1].0
            }
        }
    }

    /// The same, but never on a path: it has nothing to do with the story.
    pub(crate) fn pick_by_chance(&mut self, of: usize) -> usize {
        if matches!(self.how, How::Chance(_)) { self.pick(of) } else { 0 }
    }

    /// Something that does not happen on an ordinary day: once in `of` times.
    pub(crate) fn rarely(&mut self, of: usize) -> bool {
        match self.how {
            How::Chance(_) => self.pick(of) == of - 1,
            How::Path { .. } => self.pick(2) == 1,
        }
    }

    /// The same, but never on a path: it has nothing to do with the story.
    pub(crate) fn by_chance(&mut self, of: usize) -> bool {
        matches!(self.how, How::Chance(_)) && self.rarely(of)
    }

    /// From here on everything is ordinary.
    pub(crate) fn calm_down(&mut self) {
        self.calm = true;
    }

    pub(crate) fn is_calm(&self) -> bool {
        self.calm
    }
}
