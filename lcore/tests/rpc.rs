//! The methods that every application has are the ones in the documentation.
#![cfg(all(feature = "rpc", feature = "observe"))]

use lcore::rpc::{Methods, Phases};

#[test]
fn the_table_of_methods_is_what_is_linked() {
    let methods = Methods::linked().expect("no two have one name");
    let phase = |phases| match phases {
        Phases::Startup => "start-up",
        Phases::Running => "running",
        Phases::Any => "both",
    };
    let rows: Vec<_> = methods.iter().map(|(name, method)| format!("| `{name}` | {} | {} |", phase(method.phases), method.help)).collect();
    let page = include_str!("../../docs/rpc.md");
    let table: Vec<_> =
        page.lines().skip_while(|line| *line != "| method | phase | |").skip(2).take_while(|line| line.starts_with('|')).collect();
    assert!(rows.len() > 20, "{rows:#?}");
    assert_eq!(table, rows, "docs/rpc.md should have:\n{}", rows.join("\n"));
}
