//! Tables of made-up answers.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{VIEWS, all_methods};
use crate::seen::{Answer, Failure, Seen};

/// Looks at an application, a second apart.
struct Looks(Seen, Instant);

impl Looks {
    fn new() -> Self {
        Self(Seen::default(), Instant::now())
    }

    fn look(&mut self, answers: Value) {
        self.1 += Duration::from_secs(1);
        for method in all_methods() {
            let outcome = answers.get(method).cloned().ok_or(Failure::Missing);
            self.0.take(Answer { method, at: self.1, outcome });
        }
    }

    /// A column of a view, with the name of each row.
    fn column(&self, view: &str, key: &str) -> Value {
        let view = VIEWS.iter().find(|it| it.key == view).unwrap();
        let rows = view.table(&self.0).unwrap().json();
        let names = |row: &Value| (row[view.columns[0].key].clone(), row[key].clone());
        json!(rows.as_array().unwrap().iter().map(names).collect::<Vec<_>>())
    }
}

fn threads(all: &[(u64, &str, u64, u64)]) -> Value {
    let thread = |(id, name, busy, idle): &(u64, &str, u64, u64)| json!({"id": id, "name": name, "busy": busy, "idle": idle});
    json!({"tick_rate": 1000, "threads": all.iter().map(thread).collect::<Vec<_>>()})
}

fn reactor(core: u64, busy: u64, idle: u64, threads: &[u64]) -> Value {
    let threads: Vec<_> = threads.iter().map(|id| json!({"id": id, "name": "t"})).collect();
    json!({"lcore": core, "busy": busy, "idle": idle, "usr": busy / 10, "lw_threads": threads})
}

fn pollers(thread: (u64, &str), all: &[(u64, &str, u64, u64)]) -> Value {
    let poller = |(id, name, runs, busy): &(u64, &str, u64, u64)| json!({"id": id, "name": name, "run_count": runs, "busy_count": busy});
    json!({"id": thread.0, "name": thread.1, "active_pollers": all.iter().map(poller).collect::<Vec<_>>()})
}

#[test]
fn s194_a_threads_share_is_of_its_core_and_of_its_own_time() {
    let mut looks = Looks::new();
    for (busy, idle) in [(100, 900), (400, 1600)] {
        looks.look(json!({
            "framework_get_reactors": {"tick_rate": 1000, "reactors": [reactor(3, busy, idle, &[1, 2])]},
            "thread_get_stats": threads(&[(1, "a", busy / 2, 100 + idle / 16), (2, "b", 0, 0)]),
        }));
    }
    // The core has passed 1,000 ticks, 300 of them busy; the thread 150 of those, and 43 idle ones.
    assert_eq!(looks.column("cores", "busy_share"), json!([[3, 0.3]]));
    assert_eq!(looks.column("cores", "user_share"), json!([[3, 0.3]]));
    assert_eq!(looks.column("threads", "cpu_share"), json!([["a", 0.15], ["b", 0.0]]));
    assert_eq!(looks.column("threads", "busy_share"), json!([["a", 150.0 / 194.0], ["b", null]]));
    assert_eq!(looks.column("threads", "core"), json!([["a", 3], ["b", 3]]));
}

#[test]
fn s194_rows_that_vanish_and_come_again_have_no_rates_of_others() {
    let mut looks = Looks::new();
    let look = |looks: &mut Looks, all: &[(u64, &str, u64, u64)]| {
        let poller = pollers((1, "t"), all);
        looks.look(json!({"thread_get_stats": threads(all), "thread_get_pollers": {"tick_rate": 1000, "threads": [poller]}}));
        (looks.column("threads", "busy_share"), looks.column("pollers", "runs_per_second"))
    };
    let unknown = json!([["a", null], ["b", null]]);
    assert_eq!(look(&mut looks, &[(1, "a", 50, 50), (2, "b", 50, 50)]), (unknown.clone(), unknown));
    let left = (json!([["a", 0.5]]), json!([["a", 10.0]]));
    assert_eq!(look(&mut looks, &[(1, "a", 60, 60)]), left);
    // One that comes again, one that has another's number, and one that has begun anew.
    let (shares, rates) = look(&mut looks, &[(1, "a", 5, 5), (2, "b", 99, 99), (3, "c", 70, 70)]);
    assert_eq!((&shares, &rates), (&json!([["a", null], ["b", null], ["c", null]]), &shares));
    let (shares, _) = look(&mut looks, &[(1, "x", 90, 90), (2, "b", 100, 102)]);
    assert_eq!(shares, json!([["x", null], ["b", 0.25]]));
}

#[test]
fn pollers_of_all_kinds_have_rates_and_periods() {
    let mut looks = Looks::new();
    for runs in [10, 30] {
        let mut thread = pollers((7, "t"), &[(1, "p", runs, runs / 2)]);
        thread["timed_pollers"] =
            json!([{"id": 2, "name": "q", "run_count": runs, "busy_count": 0, "period_ticks": 4, "state": "waiting"}]);
        thread["paused_pollers"] = json!([{"id": 3, "name": "r", "run_count": 5, "busy_count": 5, "period_ticks": 0}]);
        looks.look(json!({"thread_get_pollers": {"tick_rate": 1000, "threads": [thread]}}));
    }
    assert_eq!(looks.column("pollers", "kind"), json!([["p", "active"], ["q", "timed"], ["r", "paused"]]));
    assert_eq!(looks.column("pollers", "runs_per_second"), json!([["p", 20.0], ["q", 20.0], ["r", 0.0]]));
    assert_eq!(looks.column("pollers", "busy_run_share"), json!([["p", 0.5], ["q", 0.0], ["r", null]]));
    assert_eq!(looks.column("pollers", "period_seconds"), json!([["p", null], ["q", 0.004], ["r", null]]));
}

#[test]
fn pools_of_every_module_have_rates() {
    let mut looks = Looks::new();
    for gets in [100, 350] {
        let pool = json!({"cache": gets, "main": gets * 2, "retry": 1, "cache_size": 128});
        looks.look(json!({"iobuf_get_stats": [{"module": "accel", "small_pool": pool}, {"module": "bdev", "small_pool": pool, "large_pool": pool}]}));
    }
    assert_eq!(looks.column("pools", "main_gets_per_second"), json!([["accel", 500.0], ["bdev", 500.0], ["bdev", 500.0]]));
    assert_eq!(looks.column("pools", "pool"), json!([["accel", "small"], ["bdev", "small"], ["bdev", "large"]]));
}

#[test]
fn s196_whatever_is_in_the_registry_is_shown() {
    let mut looks = Looks::new();
    for (time, value) in [(0, 5), (2_000_000_000_u64, 25)] {
        let stat = |name: &str, kind: &str, sample: Value| json!({"name": name, "help": "h", "type": kind, "samples": [sample]});
        looks.look(json!({"lcore_get_stats": {"time_ns": time, "stats": [
            stat("new_total", "counter", json!({"labels": {"thread": "t", "core": 0}, "value": value})),
            stat("free", "gauge", json!({"value": -value})),
            stat("fallen_total", "counter", json!({"labels": {}, "value": 100 - value})),
            stat("took_seconds", "histogram", json!({"count": value, "sum": f64::from(value) * 0.5, "buckets": [[0.1, 0], ["+Inf", value]]})),
            {"name": "none_yet_total", "help": "", "type": "counter", "samples": []},
        ]}}));
    }
    let values = json!([["new_total", 25], ["free", -25.0], ["fallen_total", 75], ["took_seconds", 25]]);
    assert_eq!(looks.column("statistics", "value"), values);
    let rates = json!([["new_total", 10.0], ["free", -10.0], ["fallen_total", null], ["took_seconds", 10.0]]);
    assert_eq!(looks.column("statistics", "per_second"), rates, "by the application's own clock");
    assert_eq!(looks.column("statistics", "labels")[0][1], "core=0 thread=t");
    assert_eq!(looks.column("statistics", "mean")[3][1], 0.5);
}

#[test]
fn what_is_recorded_of_runs_stands_beside_threads_and_cores() {
    let mut looks = Looks::new();
    let told = |count: u64, max: u64| json!({"count": count, "sum": 9, "max": max, "p50": 1, "p99": 2, "buckets": [[64, count]]});
    looks.look(json!({
        "framework_get_reactors": {"tick_rate": 1000, "reactors": [reactor(0, 1, 1, &[1])]},
        "thread_get_stats": threads(&[(1, "a", 1, 1), (2, "b", 1, 1)]),
        "lcore_get_histograms": {
            "tick_rate": 1000,
            "threads": [{"id": 1, "name": "a", "pollers": told(3, 20), "messages": told(1, 30), "timers_late": told(0, 0)}],
            "reactors": [{"lcore": 0, "wakes": told(1, 40)}],
        },
        "lcore_get_stalls": {
            "tick_rate": 1000,
            "limit": 10,
            "going_on": [{"lcore": 0, "thread": "a", "poller": "now", "duration": 50}],
            "stalls": [{"lcore": 0, "thread": "a", "poller": "then", "duration": 20, "age": 3000, "exact": true}],
        },
    }));
    assert_eq!(looks.column("threads", "longest_run_seconds"), json!([["a", 0.03], ["b", null]]));
    assert_eq!(looks.column("threads", "late_p99_seconds"), json!([["a", null], ["b", null]]));
    assert_eq!(looks.column("cores", "longest_wake_seconds"), json!([[0, 0.04]]));
    assert_eq!(looks.column("stalls", "state"), json!([["now", "goes on"], ["then", "over"]]));
    assert_eq!(looks.column("stalls", "age_seconds"), json!([["now", 0.0], ["then", 3.0]]));
}

#[test]
fn groups_have_rates_and_sockets_are_counted_where_they_are_not_told() {
    let mut looks = Looks::new();
    for bytes in [1000, 4000] {
        let group = |group: u64, more: Value| {
            let mut it = json!({"thread": "t", "thread_id": 2, "core": 1, "group": group, "backend": "posix"});
            it.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            it
        };
        let figures =
            json!({"sockets": 3, "polls_total": bytes, "busy_polls_total": bytes / 2, "received_bytes_total": bytes, "unsent_bytes": 7});
        let sockets = json!({"sockets_left_out": 1, "sockets": [
            {"token": 0, "state": "open", "local": "1.1.1.1:1", "peer": "2.2.2.2:2", "unsent": 7, "paused": true},
            {"token": 1, "state": "listening", "local": null, "peer": null, "unsent": 0, "paused": false},
        ]});
        looks.look(json!({
            "lcore_get_poll_groups": {"poll_groups": [group(0, figures), group(1, json!({"received_bytes_total": 5}))]},
            "lcore_get_sockets": {"poll_groups": [group(0, sockets), group(1, json!({"sockets": []}))]},
        }));
    }
    assert_eq!(looks.column("groups", "bytes_in_per_second"), json!([["t", 3000.0], ["t", 0.0]]));
    assert_eq!(looks.column("groups", "busy_poll_share"), json!([["t", 0.5], ["t", null]]));
    assert_eq!(looks.column("sockets", "state"), json!([["2.2.2.2:2", "open"], [null, "listening"], [null, "1 more"]]));
    assert_eq!(looks.column("sockets", "token"), json!([["2.2.2.2:2", 0], [null, 1], [null, null]]));
}

/// Whatever an application answers: a table, or a sentence.
#[test]
fn answers_of_any_shape_are_taken_or_refused() {
    let huge = json!({"id": u64::MAX, "name": "\u{1b}[2J", "busy": u64::MAX, "idle": u64::MAX, "lcore": u64::MAX, "run_count": u64::MAX,
        "irq": u64::MAX, "period_ticks": u64::MAX, "samples": [{"value": 1e300}], "active_pollers": [{"name": "", "run_count": u64::MAX}]});
    let some: Vec<_> = [json!([]), json!([huge]), json!([1]), json!(null), json!({})].into_iter().collect();
    let outer = |list: &Value, rate: Value| json!({"tick_rate": rate, "threads": list, "reactors": list, "stats": list, "stalls": list, "poll_groups": list});
    let objects = some.iter().flat_map(|list| [outer(list, json!(0)), outer(list, json!(-1)), outer(list, json!(1))]);
    let all: Vec<_> = objects.chain(some.clone()).chain([json!(true), json!("x"), json!(1e300)]).collect();
    let mut looks = Looks::new();
    for value in all.iter().chain(all.iter().rev()) {
        looks.look(all_methods().into_iter().map(|method| (method.to_owned(), value.clone())).collect::<serde_json::Map<_, _>>().into());
        for view in VIEWS {
            match view.table(&looks.0) {
                Ok(table) => assert!(!table.rows("", view.sorted()).iter().any(|row| row.iter().any(|it| it.shown().contains('\u{1b}')))),
                Err(why) => assert!(why.contains("cannot be read"), "{why}"),
            }
        }
    }
}

#[test]
fn views_are_sorted_by_a_column_that_they_have() {
    for view in VIEWS {
        assert_eq!(view.columns[view.sorted().column].key, view.sorted.0, "{}", view.title);
    }
}
