//! lcore in a static library of a C program. Of such an archive a linker takes only the objects
//! that something refers to, and to what registers itself nothing does, unless the page of what is
//! linked holds it.

use std::process::{Command, Output};

/// A program of what it does with lcore.
fn source(does: &str) -> String {
    format!(
        "#include <stddef.h>\n#include <stdio.h>\nconst char *lcore_linked(void);\nunsigned char lcore_run(void);\n\
         void lcore_registered(size_t *methods, size_t *sources);\nint main(void) {{ {does} }}\n"
    )
}

/// What the standard library needs of the system.
const SYSTEM: [&str; 5] = ["-lgcc_s", "-lutil", "-lpthread", "-lm", "-ldl"];

/// Runs a program that does this.
fn run(does: &str) -> Output {
    let dir = tempfile::tempdir().unwrap();
    // Cargo builds examples beside the tests of a package (`cargo test -p lcore`); a single
    // `--test` alone needs `--examples` too.
    let archive = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().join("examples/libfrom_c.a");
    assert!(archive.exists(), "{} is not built: cargo build -p lcore --examples", archive.display());
    let (main, program) = (dir.path().join("main.c"), dir.path().join("main"));
    std::fs::write(&main, source(does)).unwrap();
    let mut cc = Command::new(std::env::var_os("CC").unwrap_or("cc".into()));
    cc.arg(&main).arg("-o").arg(&program).arg(&archive).args(SYSTEM);
    if cfg!(feature = "rdma") {
        cc.args(["-lrdmacm", "-libverbs"]);
    }
    let status = cc.status().unwrap_or_else(|why| panic!("no C compiler ({why}): install gcc or clang, or name one in CC"));
    assert!(status.success(), "{cc:?}: {status}");
    Command::new(&program).output().unwrap()
}

#[test]
fn s59_a_c_program_has_the_backends_of_the_features() {
    let features = [(cfg!(feature = "uring"), "uring"), (cfg!(feature = "posix"), "posix"), (cfg!(feature = "rdma"), "rdma")];
    let expected: Vec<_> = features.into_iter().filter_map(|(on, name)| on.then_some(name)).collect();
    let said = run("puts(lcore_linked()); return 0;");
    assert!(said.status.success(), "{said:?}");
    assert_eq!(String::from_utf8(said.stdout).unwrap().trim(), expected.join(" "));
    let ended = run("return lcore_run();");
    let code = if cfg!(any(feature = "posix", feature = "uring")) { 0 } else { 2 };
    assert_eq!(ended.status.code(), Some(code), "{}", String::from_utf8_lossy(&ended.stderr));
}

/// This test's own program links lcore as Rust does.
#[cfg(feature = "rpc")]
#[test]
fn s59_a_c_program_has_the_methods_and_the_statistics() {
    let said = run("size_t m, s; lcore_registered(&m, &s); printf(\"%zu %zu\", m, s); return 0;");
    let here = (lcore::rpc::LCORE_RPC_METHODS.len(), lcore::LCORE_STATS.len());
    assert!(here.0 > 20 && here.1 > 4, "{here:?}");
    assert_eq!(String::from_utf8(said.stdout).unwrap(), format!("{} {}", here.0, here.1));
}
