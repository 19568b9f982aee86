//! Files and names on a system that has no thread to give. Alone in its process, whose limit it
//! sets.
#![cfg(all(feature = "files", feature = "names"))]

use std::fs;
use std::time::Duration;

use lcore::pool::BufGroup;
use lcore::{App, AppOptions};
use lcore_async::{Config, File, Runtime, lookup_host};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Nothing that is waited for takes this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes of addresses that this process has.
fn addresses() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("a process has one");
    let size = status.lines().find_map(|line| line.strip_prefix("VmSize:")?.trim().strip_suffix(" kB")).expect("it has a size");
    size.parse::<u64>().expect("a number") << 10
}

async fn check(runtime: &Runtime) {
    let before = getrlimit(Resource::As);
    // What small things need, and less than a stack.
    setrlimit(Resource::As, Rlimit { current: Some(addresses() + (1 << 20)), ..before }).expect("less is allowed");
    let file = File::open(runtime, "/dev/zero").await;
    let name = lookup_host(runtime, "localhost:80").await;
    setrlimit(Resource::As, before).expect("it was so before");
    let no_thread = |name| format!("start a thread: {name}: Resource temporarily unavailable (error 11)");
    assert_eq!(file.expect_err("no thread").to_string(), format!("could not open \"/dev/zero\": {}", no_thread("files")));
    assert_eq!(name.expect_err("no thread").to_string(), format!("could not look up \"localhost:80\": {}", no_thread("names")));

    let file = runtime.timeout(PATIENCE, File::open(runtime, "/dev/zero")).await.expect("it ends").expect("there are threads again");
    assert_eq!(file.read_at(&mut [1; 8], 0).await.expect("it can be read"), 8);
    runtime.timeout(PATIENCE, lookup_host(runtime, "localhost:80")).await.expect("it ends").expect("every system knows it");
}

#[test]
fn s461_s464_no_thread_to_give_is_one_sentence_and_the_next_call_asks_again() {
    let mut options = AppOptions::default();
    (options.no_cpumask_locks, options.net) = (true, Some("posix".to_owned()));
    let ran = App::new("test").options(options).network().try_run(|cx, app| {
        let runtime = Runtime::new(cx, Config::new().network(app.net(), BufGroup::new(64, 4096)))?;
        let (clone, app) = (runtime.clone(), app.clone());
        let task = async move {
            check(&clone).await;
            app.stop(0);
        };
        drop(runtime.spawn_local(task));
        Ok(())
    });
    assert_eq!(ran.expect("no panic"), 0);
}
