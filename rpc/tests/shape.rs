//! The check of shapes finds what spdk_top would stumble over.

#[path = "shapes/mod.rs"]
mod shapes;

use serde_json::{Value, json};

#[test]
fn a_key_too_many_too_few_or_of_another_kind_is_found() {
    let poller = json!({"name": "p", "id": 1, "state": "waiting", "run_count": 1, "busy_count": 0});
    let answer = |poller: Value| json!({"tick_rate": 1, "threads": [{"name": "t", "id": 1, "active_pollers": [poller], "timed_pollers": [], "paused_pollers": []}]});
    let check = |answer: &Value| shapes::check("thread_get_pollers", answer);
    assert_eq!(check(&answer(poller.clone())), Ok(()));
    let mut wider = answer(poller.clone());
    (wider["more"], wider["threads"][0]["more"]) = (json!(1), json!("x"));
    assert_eq!(check(&wider), Ok(()), "these may grow");
    for (key, value, part) in [
        ("more", json!(1), ".more is a key too many"),
        ("id", json!("1"), ".id is no u"),
        ("id", json!(1.5), ".id is no u"),
        ("run_count", json!(-1), "no u"),
        ("state", json!(null), "no s"),
        ("period_ticks", json!(null), "no u"),
    ] {
        let mut changed = poller.clone();
        changed[key] = value;
        let why = check(&answer(changed)).unwrap_err();
        assert!(why.contains(part), "{why}");
    }
    let mut less = answer(poller);
    less["threads"][0].as_object_mut().unwrap().remove("paused_pollers");
    assert!(check(&less).unwrap_err().contains(".paused_pollers is missing"));
    assert!(shapes::check("framework_wait_init", &json!(1)).is_err());
    assert!(shapes::check("log_get_flags", &json!({"a": 1})).is_err());
    assert!(shapes::check("nobodys", &json!(1)).unwrap_err().contains("no shape"));
}
