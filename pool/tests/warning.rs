//! Statement 25: a pool that is dropped with objects out says how many. A program of its own,
//! because there is one logger for each.
#![cfg(not(loom))]

use std::sync::Mutex;

use pool::{Mempool, MempoolConfig};

static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Memory;

impl log::Log for Memory {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        SAID.lock().unwrap().push(format!("{} {}", record.level(), record.args()));
    }

    fn flush(&self) {}
}

#[test]
fn s25_a_pool_dropped_with_objects_out_says_how_many() {
    log::set_logger(&Memory).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    let config = MempoolConfig { objects: 16, caches: 1, cache_size: 4 };

    let pool = Mempool::new(config, |_| 0u8).unwrap();
    let cache = pool.cache().unwrap();
    drop(cache.get());
    drop(pool);
    assert!(SAID.lock().unwrap().is_empty(), "all were home, some of them in a cache");

    let pool = Mempool::new(config, |_| 0u8).unwrap();
    let cache = pool.cache().unwrap();
    let out = (cache.get().unwrap(), cache.get_bulk::<3>().unwrap(), cache.get().unwrap().into_send());
    drop(pool);
    let said = SAID.lock().unwrap().clone();
    assert_eq!(said.len(), 1);
    assert!(said[0].starts_with("WARN") && said[0].contains("of u8") && said[0].contains("5 of 16"), "{said:?}");
    drop(out);
}
