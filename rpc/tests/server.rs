//! The server at a real socket: framing, ids, errors, batches, and clients that do their worst.

mod common;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use common::{Served, methods, until};
use serde_json::{Value, json};

#[test]
fn s160_values_come_back_to_back_in_any_cut() {
    let served = Served::start(true);
    let calls = "{\"jsonrpc\":\"2.0\",\n \"id\":1,\n \"method\":\"test_echo\", \"params\":{\"say\":\"}{\\\"ü\"}}{\"id\":2,\"method\":\"test_echo\",\
                 \"params\":{\"say\":\"b\"}} [{\"id\":3,\"method\":\"test_echo\",\"params\":{\"say\":\"c\"}}]";
    for cut in 0..=calls.len() {
        let mut client = served.client();
        let (first, second) = calls.as_bytes().split_at(cut);
        client.send(first);
        client.send(second);
        let answers = [client.value(), client.value(), client.value()];
        assert_eq!(answers[0], json!({"jsonrpc": "2.0", "id": 1, "result": "}{\"ü"}), "cut at {cut}");
        assert_eq!(answers[1], json!({"jsonrpc": "2.0", "id": 2, "result": "b"}));
        assert_eq!(answers[2], json!([{"jsonrpc": "2.0", "id": 3, "result": "c"}]));
    }
    let mut client = served.client();
    for byte in calls.as_bytes() {
        client.send(&[*byte]);
    }
    assert_eq!([client.value(), client.value(), client.value()][1]["result"], "b");
}

#[test]
fn s160_answers_are_ascii_and_end_with_a_newline() {
    let served = Served::start(true);
    let mut client = served.client();
    client.send(r#"{"id":"ü","method":"test_echo","params":{"say":"ü😀"}}"#.as_bytes());
    client.close();
    let text = client.rest();
    // The id is the client's own.
    assert_eq!(text, "{\"jsonrpc\":\"2.0\",\"id\":\"ü\",\"result\":\"\\u00fc\\ud83d\\ude00\"}\n");
}

#[test]
fn s161_ids_come_back_as_they_came_and_without_one_only_errors_do() {
    let served = Served::start(true);
    let mut client = served.client();
    for id in ["1.50", "123456789012345678901234567890", "-0", "\"a\\u0062\"", "\"\""] {
        client.send(format!("{{\"id\":{id},\"method\":\"test_echo\",\"params\":{{\"say\":\"x\"}}}}").as_bytes());
        let line = client.line();
        assert_eq!(line, format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":\"x\"}}\n"));
    }
    for call in [r#"{"method":"test_echo","params":{"say":"x"}}"#, r#"{"id":null,"method":"test_echo","params":{"say":"x"}}"#] {
        client.send(call.as_bytes());
    }
    client.send(br#"{"id":null,"method":"nobodys"}{"id":9,"method":"test_echo","params":{"say":"y"}}"#);
    assert_eq!(client.value(), json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32601, "message": "Method not found"}}));
    assert_eq!(client.value()["id"], 9);
}

#[test]
fn s161_answers_come_as_they_are_ready() {
    let served = Served::start(true);
    let mut client = served.client();
    client.send(br#"{"id":1,"method":"test_later"}{"id":2,"method":"test_echo","params":{"say":"x"}}"#);
    assert_eq!(client.value()["id"], 2);
    client.send(br#"{"id":3,"method":"test_release"}"#);
    let mut ids = [client.value(), client.value()].map(|answer| answer["id"].as_u64());
    ids.sort_unstable();
    assert_eq!(ids, [Some(1), Some(3)]);
}

#[test]
fn s162_what_is_json_and_no_request_is_answered_and_the_connection_goes_on() {
    let served = Served::start(true);
    let mut client = served.client();
    for (call, code) in [
        (r#"{"id":1,"method":"test_echo","params":{"say":"x"},"extra":1}"#, -32600),
        (r#"{"id":1,"id":1,"method":"test_echo"}"#, -32600),
        ("{}", -32600),
        ("7 ", -32600),
        ("\"x\"", -32600),
        ("null", -32600),
        ("[]", -32600),
        (r#"{"id":1,"method":"test_echo"}"#, -32602),
        (r#"{"id":1,"method":"test_echo","params":{}}"#, -32602),
        (r#"{"id":1,"method":"test_echo","params":["x"]}"#, -32602),
        (r#"{"id":1,"method":"test_echo","params":{"say":"x","more":1}}"#, -32602),
        (r#"{"id":1,"method":"test_later","params":{}}"#, -32602),
        (r#"{"id":1,"method":"test_dropped"}"#, -32603),
        (r#"{"id":1,"method":"Test_echo"}"#, -32601),
        (r#"{"id":1,"method":"test_start_only"}"#, -1),
    ] {
        client.send(call.as_bytes());
        let answer = client.value();
        assert_eq!(answer["error"]["code"], code, "{call}: {answer}");
        assert_eq!(answer["id"].is_null(), code == -32600, "{call}: {answer}");
        let keys = |of: &Value| of.as_object().map(|of| of.keys().cloned().collect::<Vec<_>>());
        assert_eq!(keys(&answer), Some(vec!["error".into(), "id".into(), "jsonrpc".into()]), "spdk_top takes no more");
    }
}

#[test]
fn s162_what_is_no_json_closes_the_connection_without_a_word_and_nothing_of_it_runs() {
    let served = Served::start(true);
    let call = r#"{"method":"test_count"}"#;
    for bad in ["{,}", "/* c */{}", "\u{feff}{}", "{\"a\":1,}", "{\"a\":\"\u{1}\"}", &format!("[{call},{call},]"), &"[".repeat(65)] {
        let mut client = served.client();
        client.send(format!("{bad}{call}").as_bytes());
        assert_eq!(client.rest(), "", "{bad}");
    }
    let mut client = served.client();
    client.send(b"{\"method\":\"\xff\"}");
    assert_eq!(client.rest(), "");
    assert_eq!(methods::count(&served), 0);
}

#[test]
fn s163_a_batch_is_answered_by_an_array() {
    let served = Served::start(true);
    let mut client = served.client();
    client.send(
        br#"[{"id":1,"method":"test_echo","params":{"say":"a"}}, 5, {"method":"test_count"}, {"id":2,"method":"nobodys"}, [], {"id":3,"method":"test_echo","params":{"say":"b"}}]"#,
    );
    let answers = client.value();
    let answers = answers.as_array().expect("an array");
    let told: Vec<_> = answers.iter().map(|answer| (answer["id"].as_u64(), answer["error"]["code"].as_i64())).collect();
    assert_eq!(told, [(Some(1), None), (None, Some(-32600)), (Some(2), Some(-32601)), (None, Some(-32600)), (Some(3), None)]);
    // Nothing but notifications: no answer at all.
    client.send(br#"[{"method":"test_count"},{"id":null,"method":"test_count"}]{"id":4,"method":"test_echo","params":{"say":"c"}}"#);
    assert_eq!(client.value()["id"], 4);
    assert_eq!(methods::count(&served), 3);
}

#[test]
fn s163_other_answers_do_not_get_into_a_batchs() {
    let served = Served::start(true);
    let mut client = served.client();
    client.send(br#"{"id":1,"method":"test_later"}[{"id":2,"method":"test_echo","params":{"say":"x"}},{"id":3,"method":"test_later"},{"id":4,"method":"test_release"}]"#);
    let (batch, single) = (client.value(), client.value());
    assert_eq!(batch.as_array().map(Vec::len), Some(3), "{batch}");
    assert_eq!(single["id"], 1);
}

#[test]
fn s163_a_batch_of_thousands_is_answered_whole() {
    let served = Served::start(true);
    let mut client = served.client();
    let call = r#"{"id":7,"method":"test_echo","params":{"say":"abcdefgh"}}"#;
    let batch = format!("[{}{call}]", format!("{call},").repeat(3_999));
    assert!(batch.len() < rpc::VALUE);
    client.send(batch.as_bytes());
    let answers = client.value();
    assert!(answers.as_array().is_some_and(|answers| answers.len() == 4_000 && answers.iter().all(|a| a["result"] == "abcdefgh")));
}

#[test]
fn s164_a_half_closed_client_is_answered_to_the_end() {
    let served = Served::start(true);
    let mut client = served.client();
    client.send(br#"{"id":1,"method":"test_later"}{"id":2,"method":"test_big"}{"id":"cut"#);
    client.close();
    assert_eq!(client.value()["id"], 2);
    served.call("test_release");
    assert_eq!(client.value()["id"], 1);
    assert_eq!(client.rest().trim(), "");
}

#[test]
fn s165_more_clients_than_are_served_wait_for_one_to_end() {
    let served = Served::start(true);
    let mut clients: Vec<_> = (0..rpc::CLIENTS).map(|_| served.client()).collect();
    for client in &mut clients {
        client.send(br#"{"id":1,"method":"test_echo","params":{"say":"x"}}"#);
        assert_eq!(client.value()["result"], "x");
    }
    let mut next = served.client();
    next.send(br#"{"id":1,"method":"test_echo","params":{"say":"y"}}"#);
    next.stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    assert!(next.stream.read(&mut [0]).is_err(), "there is no room");
    next.stream.set_read_timeout(Some(common::PATIENCE)).unwrap();
    drop(clients.pop());
    assert_eq!(next.value()["result"], "y");
}

#[test]
fn s165_values_and_calls_have_limits() {
    let served = Served::start(true);
    let fill = |bytes: usize| format!(r#"{{"id":1,"method":"test_echo","params":{{"say":"{}"}}}}"#, "x".repeat(bytes));
    let mut client = served.client();
    client.send(fill(rpc::CALL - 100).as_bytes());
    assert_eq!(client.value()["result"].as_str().map(str::len), Some(rpc::CALL - 100));
    client.send(fill(rpc::CALL).as_bytes());
    assert_eq!(client.value()["error"]["code"], -32600);
    client.send(fill(1).as_bytes());
    assert_eq!(client.value()["result"], "x");
    let mut client = served.client();
    let around = fill(0).len();
    client.send(fill(rpc::VALUE - around).as_bytes());
    assert_eq!(client.value()["error"]["code"], -32600, "as large as a value may be, and larger than a call");
    // One byte more, however it is cut.
    for piece in [1_000, 8_192, 100_000, rpc::VALUE, rpc::VALUE + 1] {
        let mut client = served.client();
        fill(rpc::VALUE - around + 1).as_bytes().chunks(piece).for_each(|piece| client.try_send(piece));
        assert_eq!(client.rest(), "", "in pieces of {piece}");
    }
    let mut client = served.client();
    client.try_send("[".repeat(256 << 10).as_bytes());
    assert_eq!(client.rest(), "");
}

/// It asks for more than its socket holds, again and again: then nothing more of it is read.
#[test]
fn s165_a_client_that_never_reads_waits_for_itself_and_for_nobody_else() {
    let served = Served::start(true);
    let mut deaf = served.client();
    deaf.stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let call = br#"{"id":1,"method":"test_big"}"#;
    let mut asked = 0_usize;
    while deaf.stream.write(call).is_ok_and(|sent| sent == call.len()) {
        asked += 1;
        assert!(asked < 100_000, "it is read on and on");
    }
    let begun = methods::bigs(&served);
    assert!(begun < 64, "{begun} answers of {} bytes were made, for {asked} calls", methods::BIG);
    let mut other = served.client();
    for _ in 0..100 {
        other.send(br#"{"id":1,"method":"test_echo","params":{"say":"x"}}"#);
        assert_eq!(other.value()["result"], "x");
    }
    assert_eq!(methods::bigs(&served), begun);
    // When it reads, it goes on.
    for _ in 0..begun + 5 {
        assert_eq!(deaf.value()["result"].as_str().map(str::len), Some(methods::BIG));
    }
    assert!(methods::bigs(&served) > begun);
}

/// More calls than may be unanswered: the rest is begun when some are.
#[test]
fn s165_calls_that_are_not_answered_are_limited() {
    let served = Served::start(true);
    let mut client = served.client();
    client.send(br#"{"id":1,"method":"test_later"}"#.repeat(40).as_slice());
    until("as many have begun as may", || methods::held(&served) == 32);
    client.send(br#"{"id":2,"method":"test_echo","params":{"say":"x"}}"#);
    let mut other = served.client();
    other.send(br#"{"id":3,"method":"test_echo","params":{"say":"y"}}"#);
    assert_eq!(other.value()["id"], 3);
    assert_eq!(methods::held(&served), 32);
    served.call("test_release");
    until("the rest has begun", || methods::held(&served) == 8);
    served.call("test_release");
    let ids: Vec<_> = (0..41).map(|_| client.value()["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.iter().filter(|id| **id == 1).count(), 40);
    assert!(ids.contains(&2));
}

/// Its work beside theirs: a thousand clients that are half-open, slow, or send what is no JSON.
#[test]
fn s165_bad_clients_hold_nobody_up() {
    let served = Served::start(true);
    let mut random = fastrand::Rng::with_seed(165);
    let started = Instant::now();
    let mut bad: Vec<UnixStream> = Vec::new();
    for n in 0..1_000 {
        if bad.len() == rpc::CLIENTS - 4 {
            bad.swap_remove(random.usize(..bad.len()));
        }
        let mut stream = UnixStream::connect(&served.path).expect("there is room in the line");
        let bytes: Vec<u8> = (0..random.usize(..64)).map(|_| random.u8(..)).collect();
        // Whoever sends what is no JSON may be gone already.
        let _ = match n % 4 {
            0 => stream.write_all(&bytes),
            1 => stream.write_all(b"{\"id\":1,\"meth"),
            2 => stream.shutdown(Shutdown::Write),
            _ => stream.write_all("[".repeat(70).as_bytes()),
        };
        bad.push(stream);
        if n % 50 == 0 {
            let mut good = served.client();
            good.send(br#"{"id":1,"method":"test_echo","params":{"say":"x"}}"#);
            assert_eq!(good.value()["result"], "x");
        }
    }
    assert!(started.elapsed() < common::PATIENCE);
}

/// Random bytes, and calls with random bytes in them, close the connection or are answered.
#[test]
fn s165_random_bytes_neither_panic_nor_stay() {
    let served = Served::start(true);
    let mut random = fastrand::Rng::with_seed(1);
    let call = br#"[{"jsonrpc":"2.0","id":1,"method":"test_echo","params":{"say":"x"}},{"id":2,"method":"rpc_get_methods"}]"#;
    for _ in 0..300 {
        let mut bytes = call.repeat(random.usize(1..4));
        for _ in 0..random.usize(..4) {
            let at = random.usize(..bytes.len());
            bytes[at] = random.u8(..);
        }
        let mut client = served.client();
        client.try_send(&bytes);
        client.close();
        client.rest_bytes();
    }
    served.call("test_count");
}

#[test]
fn s166_methods_are_called_in_their_phase() {
    let served = Served::start(false);
    let mut client = served.client();
    let mut ask = |call: &str| {
        client.send(call.as_bytes());
        client.value()
    };
    assert_eq!(ask(r#"{"id":1,"method":"test_echo","params":{"say":"x"}}"#)["error"]["code"], -1);
    assert_eq!(ask(r#"{"id":1,"method":"test_start_only"}"#)["result"], true);
    let names =
        |answer: Value| answer["result"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let current = names(ask(r#"{"id":1,"method":"rpc_get_methods","params":{"current":true,"include_aliases":false}}"#));
    assert!(current.contains(&"test_start_only".into()) && !current.contains(&"test_echo".into()), "{current:?}");
    let all = names(ask(r#"{"id":1,"method":"rpc_get_methods"}"#));
    assert!(all.contains(&"test_echo".into()) && !all.contains(&"test_old_name".into()), "{all:?}");
    let aliases = names(ask(r#"{"id":1,"method":"rpc_get_methods","params":{"include_aliases":true}}"#));
    assert!(aliases.contains(&"test_old_name".into()));
    // Whoever waits is answered by the change.
    let mut waiting = served.client();
    waiting.send(br#"{"id":1,"method":"framework_wait_init"}"#);
    assert_eq!(ask(r#"{"id":1,"method":"test_run"}"#)["result"], true);
    assert_eq!(waiting.value()["result"], true);
    assert_eq!(ask(r#"{"id":1,"method":"framework_wait_init"}"#)["result"], true);
    assert_eq!(ask(r#"{"id":1,"method":"test_old_name","params":{"say":"x"}}"#)["result"], "x");
    assert_eq!(ask(r#"{"id":1,"method":"test_start_only"}"#)["error"]["code"], -1);
}

#[test]
fn s167_the_end_sends_what_was_answered_and_takes_the_files_away() {
    let mut served = Served::start(true);
    let mut client = served.client();
    client.send(br#"{"id":1,"method":"test_later"}{"id":2,"method":"test_stop"}"#);
    assert_eq!(client.value()["id"], 2);
    assert_eq!(client.rest().trim(), "", "the call that was not answered is dropped with the connection");
    served.join();
    until("the files are gone", || !served.path.exists() && !served.path.with_extension("sock.lock").exists());
}

#[test]
fn s168_over_tcp_it_is_the_same() {
    let served = Served::start_at("127.0.0.1:0", true);
    let mut stream = std::net::TcpStream::connect(&served.at).expect("it listens");
    stream.write_all(br#"{"id":1,"method":"test_echo","params":{"say":"x"}}"#).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert_eq!(text, "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"x\"}\n");
}

/// A page of anybody's can have it sent, to a port of this machine, without being asked.
#[test]
fn s215_a_browsers_request_calls_nothing() {
    let served = Served::start_at("127.0.0.1:0", true);
    let call = r#"{"id":1,"method":"test_count"}"#;
    for line in ["POST / HTTP/1.1", "GET /?a={} HTTP/1.1", "OPTIONS * HTTP/1.1"] {
        let mut stream = std::net::TcpStream::connect(&served.at).expect("it listens");
        let request = format!("{line}\r\nHost: x\r\nContent-Length: {}\r\n\r\n{call}", call.len());
        stream.write_all(request.as_bytes()).unwrap();
        let mut bytes = Vec::new();
        // Closed with bytes unread it is a reset.
        let _ = stream.read_to_end(&mut bytes);
        assert_eq!(bytes, b"", "{line}");
    }
    assert_eq!(methods::counted(&served.state), 0);
}

#[test]
fn s169_a_core_that_sleeps_is_woken_by_a_client() {
    let served = Served::start(true);
    let mut client = served.client();
    let mut parks = Vec::new();
    for _ in 0..5 {
        client.send(br#"{"id":1,"method":"test_parks"}"#);
        let (now, asleep) = (client.value(), Instant::now());
        parks.push(now["result"].as_u64().unwrap());
        until("some time without a call", || asleep.elapsed() > Duration::from_millis(5));
    }
    assert!(parks.windows(2).all(|pair| pair[0] < pair[1]), "it slept between the calls: {parks:?}");
}
