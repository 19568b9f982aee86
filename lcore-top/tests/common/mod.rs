//! An application that is none: a socket that answers what it is told to.
#![allow(dead_code, reason = "each test program uses its part of this")]

use std::io::{BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Deserializer, Value, json};

/// Nothing that is waited for takes this long, on any machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// What it does with a call: the result, or nothing where it has no such method.
pub(crate) enum Does {
    Answer(Value),
    Refuse(i64, &'static str),
    /// Writes this as it is.
    Write(&'static str),
    Stay,
    Close,
}

/// What answers: the method, and how many times it has been called on this connection.
type Answers = Arc<dyn Fn(&str, usize) -> Does + Send + Sync>;

/// A server at a path. Dropped, it is gone, with its connections.
pub(crate) struct Application {
    path: PathBuf,
    connections: Arc<std::sync::Mutex<Vec<UnixStream>>>,
}

impl Application {
    pub(crate) fn at(path: &Path, answers: impl Fn(&str, usize) -> Does + Send + Sync + 'static) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let connections = Arc::new(std::sync::Mutex::new(Vec::new()));
        let (all, answers): (_, Answers) = (connections.clone(), Arc::new(answers));
        // It ends with the test program.
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                all.lock().unwrap().push(stream.try_clone().unwrap());
                let answers = answers.clone();
                thread::spawn(move || serve(stream, &*answers));
            }
        });
        Self { path: path.to_owned(), connections }
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        std::fs::remove_file(&self.path).unwrap();
        self.connections.lock().unwrap().drain(..).for_each(|it| it.shutdown(std::net::Shutdown::Both).unwrap_or(()));
    }
}

fn serve(mut stream: UnixStream, answers: &(dyn Fn(&str, usize) -> Does + Send + Sync)) {
    let mut counts = std::collections::HashMap::new();
    let calls = BufReader::new(stream.try_clone().unwrap());
    for call in Deserializer::from_reader(calls).into_iter::<Value>().map_while(Result::ok) {
        let method = call["method"].as_str().unwrap();
        let count = counts.entry(method.to_owned()).or_insert(0);
        *count += 1;
        let text = match answers(method, *count) {
            Does::Answer(result) => json!({"jsonrpc": "2.0", "id": call["id"], "result": result}).to_string(),
            Does::Refuse(code, message) => json!({"id": call["id"], "error": {"code": code, "message": message}}).to_string(),
            Does::Write(text) => text.to_owned(),
            Does::Stay => continue,
            Does::Close => return stream.shutdown(std::net::Shutdown::Both).unwrap(),
        };
        if stream.write_all(text.as_bytes()).is_err() {
            return;
        }
    }
}

/// Answers as SPDK's targets do, with a thread of this name. Counts grow by 1,000 from call to
/// call.
pub(crate) fn spdk(thread: &str, method: &str, count: usize) -> Does {
    let told = 1000 * count;
    let result = match method {
        "spdk_get_version" => json!({"version": format!("SPDK of {thread}"), "fields": {}}),
        "framework_get_reactors" => json!({"tick_rate": 1000, "pid": 77, "reactors": [{
            "lcore": 0, "numa_id": -1, "tid": 78, "busy": told / 2, "idle": told / 2, "in_interrupt": false, "irq": 0, "sys": 0, "usr": 0,
            "core_freq": 2100, "lw_threads": [{"name": thread, "id": 1, "cpumask": "1", "elapsed": told}],
        }]}),
        "thread_get_stats" => json!({"tick_rate": 1000, "threads": [{
            "name": thread, "id": 1, "cpumask": "1", "busy": told / 4, "idle": told / 4 * 3,
            "active_pollers_count": 1, "timed_pollers_count": 0, "paused_pollers_count": 0,
        }]}),
        "thread_get_pollers" => json!({"tick_rate": 1000, "threads": [{"name": thread, "id": 1, "active_pollers": [
            {"name": "nvmf_poll", "id": 1, "state": "waiting", "run_count": told, "busy_count": 0, "period_ticks": 0},
        ], "timed_pollers": [], "paused_pollers": []}]}),
        "iobuf_get_stats" => json!([{"module": "accel",
            "small_pool": {"cache": told, "main": 0, "retry": 0, "cache_size": 128},
            "large_pool": {"cache": 0, "main": 0, "retry": 0, "cache_size": 16},
        }]),
        _ => return Does::Refuse(-32601, "Method not found"),
    };
    Does::Answer(result)
}

/// Waits until `look` finds something.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} did not come");
        thread::sleep(Duration::from_millis(2));
    }
}
