//! Options: the file, what comes first, and what is refused.

use std::fs;

use lcore::{App, AppOptions, CpuSet, Failure, Platform, Polled, Schedule};

/// Options that read `json`.
fn with_file(json: &str) -> (tempfile::TempDir, AppOptions) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lcore.json");
    fs::write(&path, json).unwrap();
    let mut options = AppOptions::default();
    options.config = Some(path);
    (dir, options)
}

fn refusal(options: AppOptions) -> Failure {
    let why = App::new("test").options(options).network().try_run(|_, _| unreachable!("it must not start")).unwrap_err();
    assert_eq!(why.exit_code(), 2, "{why}");
    why
}

/// Runs with `options` and gives them as they were in force.
fn in_force(options: AppOptions) -> AppOptions {
    let (tell, told) = std::sync::mpsc::channel();
    let code = App::new("test").options(options).network().try_run(move |_, app| {
        assert_eq!(app.options().cores.unwrap_or(*app.cores()), *app.cores());
        tell.send(app.options().clone())?;
        app.stop(0);
        Ok(())
    });
    assert_eq!(code.unwrap(), 0);
    told.recv().unwrap()
}

/// What is positional or has another option has the name that an application likes.
#[derive(clap::Parser)]
struct Named {
    at: std::net::SocketAddr,
    #[arg(long = "my-cores")]
    cores: Option<u8>,
    #[arg(long = "my-net")]
    net: Option<String>,
    #[arg(long = "my-flags")]
    log_flags: Option<String>,
    #[command(flatten)]
    app: AppOptions,
}

#[test]
fn s392_an_application_names_its_fields_as_it_likes() {
    let line = ["own", "127.0.0.1:80", "--my-cores", "2", "--my-net", "n", "--my-flags", "f", "-m", "[0]", "-L", "reactor"];
    let args = <Named as clap::Parser>::parse_from(line);
    assert_eq!((args.at.port(), args.cores, args.net.as_deref(), args.log_flags.as_deref()), (80, Some(2), Some("n"), Some("f")));
    assert_eq!(args.app.cores.map(|cores| cores.count()), Some(1));
    assert_eq!(args.app.log_flags, ["reactor"]);
}

fn first_core() -> CpuSet {
    lcore::platform::LinuxPlatform::new().unwrap().cores().iter().take(1).collect()
}

#[test]
fn a_wrong_file_is_told_with_its_name_key_and_line() {
    for (json, parts) in [
        ("", &["line 1 column 0"][..]),
        ("{", &["line 1 column 1"]),
        ("[]", &["top level", "options in braces", "line 1"]),
        ("[null, []]", &["top level", "options in braces", "line 1"]),
        ("\"0x1\"", &["top level", "options in braces", "line 1"]),
        ("{\n  # cores\n}", &["not JSON, whose comments begin with //", "line 2 column 3"]),
        ("{} /", &["after the last brace", "line 1 column 4"]),
        ("{\n /* all }", &["not JSON", "the comment that begins at line 2 column 2 has no end"]),
        ("{\"busy_poll\": true,\n}", &["not JSON", "trailing comma", "line 2"]),
        ("{\"logflags\": [\"app\",]}", &["not JSON", "trailing comma", "line 1"]),
        ("{busy_poll: true}", &["not JSON", "key must be a string", "line 1"]),
        ("{\n\"app\": {}}", &[": app: this application has no keys of its own, at line 2 column 8"]),
        #[cfg(not(feature = "rpc"))]
        ("{\n\"subsystems\": []}", &[": subsystems: calls of RPC", "cargo feature rpc", "line 2 column 15"]),
        ("{\n\"busy_poll\": 1}", &["busy_poll", "line 2 column 14"]),
        ("{\n\n  \"logflags\": [\"all\", 7]\n}", &["logflags[1]", "line 3"]),
        ("{\"logflags\":\n[\"nope\"\n]}", &["logflags[0]", "\"nope\"", "known are", "posix", "line 2"]),
        ("{\n\"cpumask\": \"0xZ\"\n}", &["cpumask", "no hex digit", "at character 2", "line 2"]),
        ("{\n\"cpumask\": \"[1]junk\"}", &["cpumask", "something follows", "at character 3", "line 2"]),
        ("{\n\"cpumask\": 3}", &["cpumask", "line 2"]),
        ("{\"idle_spin\": -1}", &["idle_spin", "`-1`", "from 0 on", "line 1"]),
        #[cfg(feature = "observe")]
        ("{\"stall_limit\": \"10 ms\"}", &["stall_limit", "from 0 on", "line 1"]),
        #[cfg(feature = "metrics")]
        ("{\"metrics\":\n\"here\"}", &["metrics", "\"here\" is no address with a port", "line 2"]),
        #[cfg(feature = "metrics")]
        ("{\"metrics\": 9100}", &["metrics", "an address with a port, as a string", "line 1"]),
        ("{\"small_bufsize\":\n0}", &["small_bufsize", "`0`", "from 1 on", "line 2"]),
        ("{\"large_bufsize\": 0}", &["large_bufsize", "`0`", "from 1 on", "line 1"]),
        ("{\"small_pool_count\": 1.5}", &["small_pool_count", "`1.5`", "from 0 on", "line 1"]),
        ("{\"large_pool_count\": \"7\"}", &["large_pool_count", "\"7\"", "from 0 on", "line 1"]),
        ("{\"small_pool_count\": 18446744073709551616}", &["small_pool_count", "from 0 on", "line 1"]),
        ("{\"busy_poll\": true, \"idle_spin\": 7}", &["idle_spin", "leave one of them out"]),
        ("{\"small_pool_count\": 0}", &["small_pool_count 0", "there must be some"]),
        ("{\n\"mask\": \"0x1\"}", &["mask", "unknown field", "cpumask", "line 2"]),
        ("{\"busy_poll\": true,\n\"busy_poll\": true}", &["duplicate", "busy_poll", "line 2"]),
        ("{}\n{}", &["line 2"]),
    ] {
        let (_dir, options) = with_file(json);
        let text = refusal(options).to_string();
        for part in parts {
            assert!(text.contains(part), "{json:?} without {part:?}: {text}");
        }
        assert!(text.contains("-c ") && text.contains("lcore.json") || json.contains("_count\": 0"), "{text}");
        assert!(!text.contains('\n') && !text.contains(": .:") && !text.contains("?:"), "one sentence: {text}");
    }
}

#[test]
fn s201_the_documentation_has_the_keys_that_there_are() {
    let (_dir, options) = with_file(r#"{"nobodys": 1}"#);
    let text = refusal(options).to_string();
    let known = text.split_once("expected one of ").and_then(|(_, rest)| rest.split_once(" at line")).expect("its keys").0;
    let page = include_str!("../../docs/config.md");
    for key in known.split(", ") {
        assert!(page.contains(key), "docs/config.md has not {key}");
    }
    assert!(known.contains("`cpumask`"), "{known}");
}

/// Keys of a test's own.
#[derive(Debug, Default, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Own {
    rooms: Option<u32>,
    names: Vec<String>,
}

#[test]
fn s201_an_application_has_keys_of_its_own() {
    let keys = |json: Option<&str>| {
        let file = json.map(with_file);
        let options = file.as_ref().map_or_else(AppOptions::default, |(_, options)| options.clone());
        let (tell, told) = std::sync::mpsc::channel();
        let ended = App::new("test").options(options).config::<Own>().try_run(move |_, app| {
            let Own { rooms, names } = app.config::<Own>();
            tell.send(Own { rooms: *rooms, names: names.clone() })?;
            app.stop(0);
            Ok(())
        });
        ended.map(|_| told.recv().unwrap())
    };
    assert_eq!(keys(None).unwrap(), Own::default());
    assert_eq!(keys(Some("{}")).unwrap(), Own::default());
    let both = r#"{"app": {"names": ["a" /* the first */, "b"], "rooms": 3}, "busy_poll": false}"#;
    assert_eq!(keys(Some(both)).unwrap(), Own { rooms: Some(3), names: vec!["a".into(), "b".into()] });
    for (json, parts) in [
        ("{\n\"app\": {\"room\": 3}}", &[": app.room: unknown field `room`, expected `rooms` or `names` at line 2 column 14"][..]),
        ("{\"app\":\n{\"names\": [\"a\",\n  7]}}", &[": app.names[1]: ", "at line 3 column 3"]),
        ("{\"app\": [1, []]}", &[": app: ", "own keys in braces", "at line 1 column"]),
        ("{\"app\": null}", &[": app: ", "own keys in braces", "at line 1 column"]),
        ("{\"app\": {}, \"app\": {}}", &["duplicate field `app`"]),
    ] {
        let why = keys(Some(json)).unwrap_err();
        assert_eq!(why.exit_code(), 2);
        for part in parts {
            assert!(why.to_string().contains(part), "{json:?} without {part:?}: {why}");
        }
    }
}

#[test]
fn s197_comments_stand_anywhere_between_values() {
    let (_dir, options) = with_file("// cores\n{ /* all */ \"small_pool_count\" /**/ : 7, // a few\n \"sock_impl\": \"posix\" } // \u{fc}");
    let set = in_force(options);
    assert_eq!((set.pool.small_pool_count, set.net.as_deref()), (Some(7), Some("posix")));
}

#[test]
fn a_file_that_cannot_be_read_is_told_with_its_name() {
    let mut options = AppOptions::default();
    for (path, part) in [("/nowhere/lcore.json", "No such file"), ("/", "directory")] {
        options.config = Some(path.into());
        let text = refusal(options.clone()).to_string();
        assert!(text.contains(path) && text.contains(part), "{text}");
    }
    let (_dir, options) = with_file("");
    fs::write(options.config.as_ref().unwrap(), [0xFF, 0xFE]).unwrap();
    assert!(refusal(options).to_string().contains("UTF-8"));
}

#[test]
fn the_file_sets_all_options() {
    let mask = first_core();
    for (idle, busy_poll, idle_spin) in [(r#""busy_poll": true"#, true, None), (r#""idle_spin": 7"#, false, Some(7))] {
        let json = format!(
            r#"{{"cpumask": "{mask}", "logflags": ["app"], "sock_impl": "posix", {idle}, "cpumask_locks": false,
            "small_pool_count": 10, "small_bufsize": 2048, "large_pool_count": 0, "large_bufsize": 1}}"#
        );
        let (_dir, options) = with_file(&json);
        let set = in_force(options);
        assert_eq!((set.cores, set.log_flags, set.net.as_deref()), (Some(mask), vec!["app".to_owned()], Some("posix")));
        assert_eq!((set.busy_poll, set.idle_spin, set.no_cpumask_locks), (busy_poll, idle_spin, true));
        let pool = &set.pool;
        assert_eq!(
            (pool.small_pool_count, pool.small_bufsize, pool.large_pool_count, pool.large_bufsize),
            (Some(10), Some(2048), Some(0), Some(1))
        );
    }
}

#[test]
fn what_stands_on_the_command_line_comes_first() {
    let mask = first_core();
    let json = r#"{"cpumask": "[1023]", "logflags": ["posix"], "sock_impl": "nope", "busy_poll": true, "small_pool_count": 1}"#;
    let (_dir, mut options) = with_file(json);
    (options.cores, options.net, options.idle_spin) = (Some(mask), Some("posix".into()), Some(100));
    (options.log_flags, options.no_cpumask_locks, options.pool.small_pool_count) = (vec!["app".into()], true, Some(2));
    let set = in_force(options);
    assert_eq!(set.pool.small_pool_count, Some(2));
    assert_eq!((set.cores, set.log_flags, set.net.as_deref()), (Some(mask), vec!["app".to_owned()], Some("posix")));
    assert_eq!((set.busy_poll, set.idle_spin, set.no_cpumask_locks), (false, Some(100), true));
}

#[test]
fn a_log_flag_that_no_part_has_is_refused() {
    let mut options = AppOptions::default();
    options.log_flags = vec!["posix".into(), "nope".into()];
    let text = refusal(options).to_string();
    assert!(text.contains("\"nope\"") && text.contains("posix") && text.contains("all"), "{text}");
}

#[test]
fn cores_that_are_not_there_are_refused_by_the_name_of_who_asks() {
    let mut options = AppOptions::default();
    options.cores = Some("[1023]".parse().unwrap());
    let text = refusal(options).to_string();
    assert!(text.starts_with("-m [1023]: this machine has no core [1023]; it has ["), "{text}");
    let (_dir, options) = with_file(r#"{"cpumask": "[1023]"}"#);
    let text = refusal(options).to_string();
    assert!(text.starts_with("-c ") && text.contains("lcore.json: cpumask [1023]: this machine has no core [1023]"), "{text}");
}

#[test]
fn s13_busy_poll_never_parks_and_a_spin_does() {
    for busy in [true, false] {
        let mut options = AppOptions::default();
        (options.busy_poll, options.no_cpumask_locks) = (busy, true);
        let (tell, told) = std::sync::mpsc::channel();
        let app = App::new("test").options(options).on_stopped(move |_, figures| tell.send(figures[0].parks).unwrap());
        let code = app.try_run(|cx, app| {
            let app = app.clone();
            cx.poller("end", Schedule::Every(std::time::Duration::from_millis(50)), move |_: &mut lcore::Cx<'_>| {
                app.stop(0);
                Polled::Done
            });
            Ok(())
        });
        assert_eq!(code.unwrap(), 0);
        assert_eq!(told.recv().unwrap() == 0, busy);
    }
}

#[cfg(feature = "observe")]
#[test]
fn s182_the_limit_on_stalls_is_the_command_lines_then_the_files_then_ten_milliseconds() {
    for (json, given, expected) in [("{}", None, 10), (r#"{"stall_limit": 7}"#, None, 7), (r#"{"stall_limit": 7}"#, Some(0), 0)] {
        let (_dir, mut options) = with_file(json);
        options.stall_limit = given;
        let (tell, told) = std::sync::mpsc::channel();
        let code = App::new("test").options(options).try_run(move |_, app| {
            tell.send(app.lib().stall_limit())?;
            app.stop(0);
            Ok(())
        });
        assert_eq!((code.unwrap(), told.recv().unwrap()), (0, std::time::Duration::from_millis(expected)));
    }
}

#[cfg(feature = "metrics")]
#[test]
fn s203_metrics_are_served_where_the_command_line_says_or_else_the_file() {
    let json = r#"{"metrics": "127.0.0.1:9100"}"#;
    for (json, given, expected) in [(json, None, Some("127.0.0.1:9100")), (json, Some("[::1]:0"), Some("[::1]:0")), ("{}", None, None)] {
        let (_dir, mut options) = with_file(json);
        options.metrics = given.map(|at| at.parse().unwrap());
        // Without a network it is refused before anything listens.
        let told = App::new("test").options(options).try_run(|_, app| {
            app.stop(0);
            Ok(())
        });
        match expected {
            Some(at) => assert!(told.unwrap_err().to_string().contains(&format!("--metrics {at}:"))),
            None => assert_eq!(told.unwrap(), 0),
        }
    }
}
