//! A configuration in SPDK's form: which of its calls are made, when, and what is wrong with it.
#![cfg(feature = "rpc")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lcore::net::SockOptions;
use lcore::rpc::{Call, Control, Error, Method, Phases};
use lcore::sim::Sim;
use lcore::{App, AppHandle, AppOptions, Cx, Failure, Polled, Schedule};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    text: String,
}

/// What was noted, in order, by everybody who has the application's name.
static NOTES: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn note(text: &str) {
    NOTES.lock().unwrap().push(text.to_owned());
}

fn take_note(call: Call) {
    call.answer(|Note { text }| match text.as_str() {
        "bad" => Err(Error::new(-17, "File exists")),
        _ => {
            note(&text);
            Ok(true)
        }
    });
}

lcore::rpc::register!(Method::new("test_early", "", |_, call| take_note(call)).phases(Phases::Startup));

lcore::rpc::register!(static LATE = Method::new("test_late", "", |_, call| take_note(call)));

lcore::rpc::register!(Method::new("test_any", "", |_, call| take_note(call)).phases(Phases::Any));

// Answers from another thread, when the calls behind it would long have been made.
lcore::rpc::register!(Method::new("test_slow", "", |_: &mut Cx<'_>, call| {
    let Some((Note { text }, reply)) = call.open() else { return };
    std::thread::spawn(move || {
        note(&text);
        reply.send(Ok(true));
    });
}));

/// Where the application serves, for a call that looks for that.
static SERVED_AT: Mutex<Option<PathBuf>> = Mutex::new(None);

// Is a client while the file is played, and looks for an answer for as long as a server would need
// many times over.
lcore::rpc::register!(Method::new("test_client", "", |cx: &mut Cx<'_>, call| {
    let Some((Note { text }, reply)) = call.open() else { return };
    let at = SERVED_AT.lock().unwrap().clone().expect("it serves");
    let mut client = UnixStream::connect(at).expect("it listens");
    client.write_all(br#"{"id": 1, "method": "rpc_get_methods"}"#).expect("it is taken");
    client.set_nonblocking(true).unwrap();
    let (until, mut reply) = (cx.clock() + Duration::from_millis(50), Some(reply));
    cx.poller("client", Schedule::WhenAwake, move |cx: &mut Cx<'_>| {
        let mut some = [0; 100];
        if let Ok(count) = client.read(&mut some) {
            note(&format!("answered {text} too early, by {count} bytes"));
        } else if cx.clock() < until {
            return Polled::Busy;
        }
        if let Some(reply) = reply.take() {
            note(&text);
            *WAITING.lock().unwrap() = client.try_clone().ok();
            reply.send(Ok(true));
        }
        Polled::Done
    });
}));

/// The client that waits yet.
static WAITING: Mutex<Option<UnixStream>> = Mutex::new(None);

/// What came of a file.
#[derive(Debug)]
struct Came {
    notes: Vec<String>,
    code: u8,
}

fn config(json: &str) -> (tempfile::TempDir, AppOptions) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("spdk.json");
    fs::write(&path, json).unwrap();
    let mut options = AppOptions::default();
    options.config = Some(path);
    (dir, options)
}

/// One file at a time: what is noted is one list.
static TURN: Mutex<()> = Mutex::new(());

/// Runs an application with a file, until it has started or failed.
fn play_with(json: &str, set: impl FnOnce(&mut AppOptions)) -> Result<Came, Failure> {
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    NOTES.lock().unwrap().clear();
    let (_dir, mut options) = config(json);
    set(&mut options);
    let code = App::new("test").options(options).try_run(|cx, app| {
        note("start");
        stop_behind_all(cx, app);
        Ok(())
    })?;
    Ok(Came { notes: std::mem::take(&mut *NOTES.lock().unwrap()), code })
}

/// Stops when the last call of a file has been made, which notes the end.
fn stop_behind_all(cx: &mut Cx<'_>, app: &AppHandle) {
    let app = app.clone();
    cx.poller("end", Schedule::Every(Duration::from_millis(1)), move |_: &mut Cx<'_>| {
        if NOTES.lock().unwrap().last().is_some_and(|note| note == "end") {
            app.stop(0);
            return Polled::Done;
        }
        Polled::Idle
    });
}

fn play(json: &str) -> Result<Came, Failure> {
    play_with(json, |_| ())
}

#[test]
fn s197_a_file_is_played_before_the_start_and_behind_it() {
    let came = play(
        r#"// What save_config writes, and comments.
        {"subsystems": [
            {"subsystem": "test", "config": [
                {"method": "test_late", "params": {"text": "late 1"}},
                {"method": "test_early", "params": {"text": "early 1"}},
                [{"method": "test_any", "params": {"text": "any 1"}}, {"method": "test_slow", "params": {"text": "slow"}}],
                {"method": "test_late", "params": {"text": "late 2"}} /* the same again */
            ]},
            {"subsystem": "nothing", "config": null},
            {"config": [{"params": {"text": "early 2"}, "method": "test_early"}], "subsystem": "test"},
            {"subsystem": "iobuf", "config": [{"method": "log_get_flags"}, {"method": "log_get_flags", "params": null}]},
            {"subsystem": "test", "config": [{"method": "test_late", "params": {"text": "end"}}]}
        ], "small_pool_count": 7}"#,
    );
    let came = came.unwrap();
    assert_eq!(came.notes, ["early 1", "any 1", "early 2", "start", "late 1", "slow", "late 2", "end"]);
    assert_eq!(came.code, 0);
}

/// What they see is an application as its file has it.
#[test]
fn s197_clients_wait_for_the_end_of_the_file() {
    let place = tempfile::tempdir().unwrap();
    let at = place.path().join("s");
    *SERVED_AT.lock().unwrap() = Some(at.clone());
    let json = r#"{"subsystems": [{"subsystem": "x", "config": [
        {"method": "test_client", "params": {"text": "client"}}, {"method": "test_late", "params": {"text": "last"}}]}]}"#;
    let heard = std::thread::spawn(|| {
        let client = loop {
            match WAITING.lock().unwrap().take() {
                Some(client) => break client,
                None => std::thread::yield_now(),
            }
        };
        client.set_nonblocking(false).unwrap();
        let mut line = String::new();
        BufReader::new(client).read_line(&mut line).unwrap();
        note("end");
        line
    });
    let came = play_with(json, |options| options.rpc.at = Some(format!("{}", at.display()).parse().unwrap()));
    assert_eq!(came.unwrap().notes, ["start", "client", "last", "end"]);
    assert!(heard.join().unwrap().contains("\"test_client\""));
}

#[test]
fn s198_what_is_not_linked_is_passed_over() {
    let came = play(
        r#"{"subsystems": [
            {"subsystem": "bdev", "config": [
                {"method": "bdev_set_options", "params": {"bdev_io_pool_size": 65535}},
                {"method": "bdev_wait_for_examine"}
            ]},
            {"subsystem": "sock", "config": [{"method": "sock_impl_set_options", "params": {"impl_name": "ssl", "recv_buf_size": 4096}}]},
            {"subsystem": "keyring", "config": []},
            {"subsystem": "nbd", "config": [{"method": "test_late", "params": {"text": "end"}}]}
        ]}"#,
    );
    assert_eq!(came.unwrap().notes, ["start", "end"]);
}

#[test]
fn s199_a_file_of_a_wrong_form_is_told_with_its_place_before_anything_starts() {
    let call = |method: &str| {
        format!("{{\"subsystems\": [{{\"subsystem\": \"iobuf\",\n  \"config\": [{{}}, {{\"method\": {method}}}]}}]}}").replace("{}, ", "")
    };
    for (json, parts) in [
        (r#"{"subsystems": null}"#.to_owned(), &["subsystems: ", "expected a sequence", "line 1 column"][..]),
        (r#"{"subsystems": {}}"#.into(), &["subsystems: ", "expected a sequence", "line 1"]),
        (r#"{"subsystems": [], "subsystems": []}"#.into(), &["duplicate field `subsystems`"]),
        ("{\"subsystems\": [\n7]}".into(), &["subsystems[0]: ", "a subsystem in braces", "line 2 column 1"]),
        (r#"{"subsystems": [["sock", []]]}"#.into(), &["subsystems[0]: ", "a subsystem in braces"]),
        (r#"{"subsystems": [{"subsystem": "sock"}]}"#.into(), &["subsystems[0]: ", "missing field `config`"]),
        (r#"{"subsystems": [{"config": []}]}"#.into(), &["subsystems[0]: ", "missing field `subsystem`"]),
        (
            "{\"subsystems\": [{\"subsystem\": \"sock\",\n\"config\": [], \"x\": 1}]}".into(),
            &["subsystems[0].x: ", "unknown field `x`", "line 2 column 17"],
        ),
        (r#"{"subsystems": [{"subsystem": "sock", "config": [["x"]]}]}"#.into(), &["subsystems[0].config[0][0]: ", "a call in braces"]),
        (r#"{"subsystems": [{"subsystem": "sock", "config": [{}]}]}"#.into(), &["subsystems[0].config[0]: ", "missing field `method`"]),
        (
            "{\"subsystems\": [{\"subsystem\": \"sock\", \"config\": [\n {\"method\": \"log_get_flags\", \"note\": 1}]}]}".into(),
            &["subsystems[0].config[0].note: ", "unknown field `note`", "line 2 column 35"],
        ),
        (call("7"), &["subsystems[0].config[0].method: ", "the name of a method", "line 2"]),
        (
            call("\"iobuf_nothing\""),
            &["subsystems[0].config[0]: no method of this program is called \"iobuf_nothing\"", "at line 2 column 25"],
        ),
        (call("\"framework_start_init\""), &["subsystems[0].config[0]: framework_start_init is no call of a file", "at line 2 column 25"]),
        (call("\"framework_wait_init\""), &["framework_wait_init is no call of a file"]),
        ("{\"subsystems\": [],}".into(), &["not JSON", "trailing comma"]),
    ] {
        let why = play(&json).expect_err(&json);
        assert_eq!(why.exit_code(), 2, "{why}");
        let text = why.to_string();
        assert!(parts.iter().all(|part| text.contains(part)) && text.contains("spdk.json: ") && !text.contains('\n'), "{json}: {text}");
    }
}

#[test]
fn s199_a_file_that_was_cut_off_anywhere_is_told() {
    let page = include_str!("../../docs/config.md");
    let whole = page.split("```json\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example").trim_end();
    for cut in 0..whole.len() {
        let (_dir, options) = config(&whole[..cut]);
        let why = App::new("test").options(options).start_on(Sim::new(1).lib(), |_, _| Ok(())).expect_err("it is not whole");
        assert!(why.exit_code() == 2 && why.to_string().contains("not JSON: "), "{cut}: {why}");
    }
}

#[test]
fn s199_a_call_that_fails_ends_the_application() {
    for (method, text, notes) in [("test_early", "bad", &[][..]), ("test_any", "bad", &[]), ("test_late", "bad", &["start"])] {
        let more = r#"{"method": "test_late", "params": {"text": "end"}}"#;
        let json = format!(
            r#"{{"subsystems": [{{"subsystem": "x", "config": [{{"method": "{method}", "params": {{"text": "{text}"}}}}, {more}]}}]}}"#
        );
        let came = play(&json).unwrap();
        assert_eq!((came.code, &came.notes[..]), (1, &notes.iter().map(|note| (*note).to_owned()).collect::<Vec<_>>()[..]), "{json}");
        // The same, where such things are passed over.
        let came = play_with(&json, |options| options.rpc.json_ignore_init_errors = true).unwrap();
        assert_eq!((came.code, came.notes), (0, vec!["start".into(), "end".to_owned()]));
    }
    for params in [r#", "params": []"#, r#", "params": {"text": 1}"#, r#", "params": {"text": "x", "text": "x"}"#, ""] {
        let json = format!(r#"{{"subsystems": [{{"subsystem": "x", "config": [{{"method": "test_early"{params}}}]}}]}}"#);
        assert_eq!(play(&json).unwrap().code, 1, "{params}");
    }
}

#[test]
fn s199_unknown_methods_are_passed_over_where_that_is_asked_for() {
    let json = r#"{"subsystems": [{"subsystem": "iobuf", "config": [
        {"method": "iobuf_nothing"}, {"method": "test_late", "params": {"text": "end"}}]}]}"#;
    assert_eq!(play(json).unwrap_err().exit_code(), 2);
    assert_eq!(play_with(json, |options| options.rpc.json_ignore_init_errors = true).unwrap().notes, ["start", "end"]);
    let malformed = json.replace("\"iobuf_nothing\"", "7");
    assert_eq!(play_with(&malformed, |options| options.rpc.json_ignore_init_errors = true).unwrap_err().exit_code(), 2);
}

/// On a simulated machine it is played just so, and an application that ends meanwhile ends.
#[test]
fn s197_a_file_is_played_wherever_the_application_runs() {
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    NOTES.lock().unwrap().clear();
    let (_dir, options) = config(
        r#"{"subsystems": [{"subsystem": "x", "config": [
            {"method": "test_late", "params": {"text": "late"}}, {"method": "test_early", "params": {"text": "early"}}]}]}"#,
    );
    let mut sim = Sim::new(1);
    let app = App::new("test").options(options).start_on(sim.lib(), |_, _| {
        note("start");
        Ok(())
    });
    let app = app.unwrap();
    sim.settle();
    assert_eq!(std::mem::take(&mut *NOTES.lock().unwrap()), ["early", "start", "late"]);
    app.stop(3);
    sim.settle();
    assert!(sim.lib().threads().is_empty());
    assert_eq!(app.finish(&[]).unwrap(), 3);
}

/// Calls of the program's own, without a file.
#[test]
fn s197_a_method_is_called_from_within() {
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    NOTES.lock().unwrap().clear();
    let mut sim = Sim::new(1);
    let answers = Arc::new(Mutex::new(Vec::new()));
    let heard = answers.clone();
    let app = App::new("test").start_on(sim.lib(), move |cx, _| {
        let control = Control::new(true)?;
        for text in ["{\"text\": \"one\"}", "{\"text\": \"bad\"}", "{}"] {
            let heard = heard.clone();
            control.call(cx, &LATE, Some(lcore::rpc::Params::new(text)), move |answer| {
                heard.lock().unwrap().push(answer.map(drop).map_err(|why| why.code()));
            });
        }
        Ok(())
    });
    let app = app.unwrap();
    sim.settle();
    assert_eq!(*answers.lock().unwrap(), [Ok(()), Err(-17), Err(-32602)]);
    app.stop(0);
    sim.settle();
}

/// What sockets of the backend are like that listen and that connect, without a wish and with one.
type Sockets = [SockOptions; 4];

/// The code, and the sockets of an application over `backend` whose file sets that up by `params`.
fn tuned(backend: &str, params: &str) -> (u8, Option<Sockets>) {
    let (_dir, mut options) = config(&format!(
        r#"{{"subsystems": [{{"subsystem": "sock", "config": [
            {{"method": "sock_impl_set_options", "params": {{"impl_name": "{backend}"{params}}}}}]}}]}}"#
    ));
    options.net = Some(backend.into());
    let (tell, told) = std::sync::mpsc::channel();
    let ended = App::new("test").network().options(options).try_run(move |_, app| {
        let (net, here) = (app.net(), "127.0.0.1:0".parse()?);
        assert_eq!(net.name(), app.selected().backend.name());
        let own = SockOptions::default().recv_buf(10_000).send_buf(11_000).quick_ack(true);
        let [plain, own] = [SockOptions::default(), own].map(|asked| (net.listen(here, &asked), net.connect(&[here], &asked)));
        tell.send([plain.0?.options()?, plain.1?.options()?, own.0?.options()?, own.1?.options()?])?;
        app.stop(0);
        Ok(())
    });
    (ended.unwrap(), told.try_recv().ok())
}

#[test]
fn s202_sockets_are_as_was_said_where_the_application_leaves_it_open() {
    for backend in ["posix", "uring"] {
        let (code, usual) = tuned(backend, "");
        let [usual, ..] = usual.unwrap();
        assert_eq!((code, usual.quick_ack, usual.zero_copy), (0, false, None));
        let (code, set) = tuned(backend, r#", "recv_buf_size": 40000, "send_buf_size": 50000, "enable_quickack": true"#);
        // The system doubles what it is asked for.
        let sizes = |of: &SockOptions| (of.recv_buf.unwrap(), of.send_buf.unwrap(), of.quick_ack);
        assert_eq!(
            (code, set.unwrap().each_ref().map(sizes)),
            (0, [(80_000, 100_000, true), (80_000, 100_000, true), (20_000, 22_000, true), (20_000, 22_000, true)])
        );
        // 0 is the system's, and so is what is far too much; the file is one of SPDK's.
        let (code, set) =
            tuned(backend, r#", "recv_buf_size": 0, "send_buf_size": 99000000000, "enable_recv_pipe": true, "enable_quickack": false"#);
        let set = set.unwrap();
        assert_eq!((code, set[0].recv_buf, set[0].quick_ack), (0, usual.recv_buf, false));
        assert!(set[0].send_buf > usual.send_buf.min(Some(100_000)), "{set:?}");
    }
}

#[test]
fn s443_an_application_has_unix_sockets_as_was_said() {
    for backend in ["posix", "uring"] {
        let (dir, mut options) = config(&format!(
            r#"{{"subsystems": [{{"subsystem": "sock", "config": [
                {{"method": "sock_impl_set_options", "params": {{"impl_name": "{backend}", "send_buf_size": 50000}}}}]}}]}}"#
        ));
        options.net = Some(backend.into());
        let at: lcore::net::UnixAddress = format!("unix:{}", dir.path().join("socket").display()).parse().unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        let ended = App::new("test").network().options(options).try_run(move |_, app| {
            let usual = SockOptions::default();
            let (listener, client) = (app.net().listen_unix(&at, &usual)?, app.net().connect_unix(&at, &usual)?);
            tell.send([listener.options()?.send_buf, client.options()?.send_buf])?;
            app.stop(0);
            Ok(())
        });
        // The system doubles what it is asked for.
        assert_eq!((ended.unwrap(), told.try_recv()), (0, Ok([Some(100_000); 2])), "{backend}");
    }
}

#[test]
fn s202_sends_without_a_copy_are_for_the_side_that_was_named() {
    let of = |backend: &str, params: &str| tuned(backend, params).1.unwrap().map(|options| options.zero_copy);
    let server = r#", "enable_zerocopy_send_server": true, "zerocopy_threshold": 7000"#;
    assert_eq!(of("uring", server), [Some(7000), None, Some(7000), None]);
    assert_eq!(of("uring", r#", "enable_zerocopy_send_client": true"#), [None, Some(0), None, Some(0)]);
    assert_eq!(of("uring", r#", "zerocopy_threshold": 7000"#), [None; 4]);
    // It is not to be had there, and SPDK's files ask for it.
    assert_eq!(of("posix", server), [None; 4]);
}

#[test]
fn s202_what_sockets_cannot_be_is_refused() {
    for params in [
        r#", "tls_version": 13"#,
        r#", "enable_ktls": true"#,
        r#", "recv_buf_size": -1"#,
        r#", "priority": 1"#,
        r#", "enable_quickack": 1"#,
    ] {
        assert_eq!(tuned("posix", params), (1, None), "{params}");
    }
}
