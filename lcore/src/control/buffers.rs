//! The methods that concern the buffer pool.

use linkme::distributed_slice;
use pool::{Class, DataPool};
use rpc::{LCORE_RPC_METHODS, Method, NoParams};
use serde::Serialize;

use crate::AppHandle;

#[distributed_slice(LCORE_RPC_METHODS)]
static GET_STATS: Method =
    Method::new("iobuf_get_stats", "Buffers handed out: of reserves, of the shared pool, and after a wait", |_, call| {
        let app = call.control().service::<AppHandle>();
        call.answer(|NoParams| Ok(app?.made_pool().map(Module::of).into_iter().collect::<Vec<_>>()));
    });

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
