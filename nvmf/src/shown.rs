//! What poll groups have done, for whoever asks the registry of statistics.

use core::fmt::Display;

use core_reactor::{Sharded, Source, register_stats};

use crate::group::Group;

register_stats!(Source::Thread(|cx, samples| {
    let Some(figures) = Sharded::<Group>::here(cx, |group, _| group.base.figures.clone()) else { return };
    let (core, thread) = (cx.core().0, cx.handle());
    let labels: [(_, &dyn Display); 2] = [("core", &core), ("thread", &thread.name())];
    samples.add(&labels, &*figures);
}));
