//! The methods that concern the buffer pool.

use pool::{Class, DataPool};
use rpc::{Error, Method, NoParams, Phases};
use serde::{Deserialize, Serialize};

use crate::{AppHandle, PoolOptions};

rpc::register!(Method::new("iobuf_get_stats", "Buffers handed out: of reserves, of the shared pool, and after a wait", |_, call| {
    let app = call.control().service::<AppHandle>();
    call.answer(|NoParams| Ok(app?.made_pool().map(Module::of).into_iter().collect::<Vec<_>>()));
}));

/// The application's one pool.
#[derive(Serialize)]
struct Module {
    module: &'static str,
    small_pool: Buffers,
    large_pool: Buffers,
}

#[derive(Serialize)]
struct Buffers {
    cache: u64,
    main: u64,
    retry: u64,
    cache_size: usize,
}

impl Module {
    fn of(pool: &DataPool) -> Self {
        let buffers = |class| {
            let stats = pool.stats(class);
            Buffers { cache: stats.from_reserve, main: stats.from_shared, retry: stats.waits, cache_size: stats.reserved }
        };
        Self { module: "data_pool", small_pool: buffers(Class::Small), large_pool: buffers(Class::Large) }
    }
}

rpc::register!(
    Method::new("iobuf_set_options", "The sizes of the buffer pool, before it is made", |_, call| {
        let app = call.control().service::<AppHandle>();
        call.answer(|sizes: Sizes| {
            let app = app?;
            app.said().set_pool(sizes.check(&app)?);
            Ok(true)
        });
    })
    .phases(Phases::Startup)
);

/// What the pool is to be. What is not given stays as the command line or the application has it.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sizes {
    small_pool_count: Option<usize>,
    large_pool_count: Option<usize>,
    small_bufsize: Option<usize>,
    large_bufsize: Option<usize>,
    enable_numa: Option<bool>,
}

impl Sizes {
    /// Those of a pool that is there.
    pub(super) fn of(pool: &DataPool) -> Self {
        Self {
            small_pool_count: Some(pool.stats(Class::Small).count),
            large_pool_count: Some(pool.stats(Class::Large).count),
            small_bufsize: Some(pool.buf_size(Class::Small)),
            large_bufsize: Some(pool.buf_size(Class::Large)),
            enable_numa: Some(false),
        }
    }

    fn check(self, app: &AppHandle) -> Result<PoolOptions, Error> {
        let wrong = |why: &str| Err(Error::params(format!("Invalid parameters: {why}")));
        if self.enable_numa == Some(true) {
            return wrong("enable_numa: there is one pool for all nodes");
        }
        if self.small_bufsize == Some(0) || self.large_bufsize == Some(0) {
            return wrong("a buffer has 1 byte at least");
        }
        if self.small_pool_count == Some(0) && app.has_net() {
            return wrong("small_pool_count: sockets receive into small buffers, so there must be some");
        }
        let Self { small_pool_count, large_pool_count, small_bufsize, large_bufsize, .. } = self;
        Ok(PoolOptions { small_pool_count, small_bufsize, large_pool_count, large_bufsize })
    }
}
