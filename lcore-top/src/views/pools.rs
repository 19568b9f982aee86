//! Buffer pools.

use serde::Deserialize;

use super::{Rows, View};
use crate::seen::Seen;
use crate::table::{Cell, column};

const METHOD: &str = "iobuf_get_stats";

pub(super) static VIEW: View = View {
    key: "pools",
    title: "Pools",
    methods: &[METHOD],
    columns: &[
        column("module", "MODULE"),
        column("pool", "POOL"),
        column("cache_gets_per_second", "CACHE/S"),
        column("main_gets_per_second", "MAIN/S"),
        column("waits_per_second", "WAITS/S"),
        column("cache_gets", "CACHE"),
        column("main_gets", "MAIN"),
        column("waits", "WAITS"),
        column("cache_size", "CACHE SIZE"),
    ],
    rows,
    sorted: ("module", false),
};

#[derive(Deserialize)]
struct Module {
    module: String,
    small_pool: Option<Buffers>,
    large_pool: Option<Buffers>,
}

#[derive(Deserialize)]
struct Buffers {
    #[serde(default)]
    cache: u64,
    #[serde(default)]
    main: u64,
    #[serde(default)]
    retry: u64,
    cache_size: Option<u64>,
}

impl Module {
    fn pools(&self) -> impl Iterator<Item = (&'static str, &Buffers)> {
        let pools = [("small", &self.small_pool), ("large", &self.large_pool)];
        pools.into_iter().filter_map(|(name, pool)| Some((name, pool.as_ref()?)))
    }
}

fn rows(seen: &Seen) -> Result<Rows, String> {
    let pair = seen.pair::<Vec<Module>>(METHOD)?;
    let row = |module: &Module, (pool, now): (&'static str, &Buffers)| {
        let same = pair.before.iter().flatten().find(|it| it.module == module.module);
        let before = same.and_then(|it| it.pools().find(|(name, _)| *name == pool)).map(|(_, buffers)| buffers);
        vec![
            Cell::text(&module.module),
            Cell::text(pool),
            Cell::rate(before.map(|it| it.cache), now.cache, pair.elapsed),
            Cell::rate(before.map(|it| it.main), now.main, pair.elapsed),
            Cell::rate(before.map(|it| it.retry), now.retry, pair.elapsed),
            Cell::Count(now.cache),
            Cell::Count(now.main),
            Cell::Count(now.retry),
            Cell::maybe(now.cache_size, Cell::Count),
        ]
    };
    Ok(pair.now.iter().flat_map(|module| module.pools().map(move |pool| row(module, pool))).collect())
}
