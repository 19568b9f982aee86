//! Files that reservations are kept in (`ptpl_file`), as SPDK writes and reads them.

extern crate std;

use std::boxed::Box;
use std::format;
use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;
use std::string::{String, ToString};
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::vec::Vec;

use bdev::Uuid;
use nvme::reservation::Kind;
use nvme::target::Kept;
use serde::{Deserialize, Serialize};

use crate::{Keeper, ToKeep};

/// What a file has at most: 128 registrants are a tenth of it.
const MOST: u64 = 128 << 10;

/// The one path of a file, however it is written, so that two can be compared. The file need not be
/// there, its folder has to.
pub(super) fn resolve(path: &str) -> Result<String, String> {
    let told = |why: io::Error| format!("{path:?} cannot be read: {why}");
    let whole = match fs::canonicalize(path) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => {
            let (dir, name) = (folder(path), Path::new(path).file_name().ok_or_else(|| format!("{path:?} names no file"))?);
            if !dir.is_dir() {
                return Err(format!("{path:?}: there is no folder {dir:?} for it"));
            }
            fs::canonicalize(dir).map_err(told)?.join(name)
        }
        whole => whole.map_err(told)?,
    };
    whole.into_os_string().into_string().map_err(|it| format!("{path:?} is {it:?}, which is no UTF-8"))
}

/// Whether two files, of resolved paths, are one, or one of them is where the other is written
/// before it takes its place.
pub(super) fn collide(one: &str, other: &str) -> bool {
    one == other || beside(one) == other || beside(other) == one
}

/// Where what is to take a file's place is written.
fn beside(path: &str) -> String {
    format!("{path}.new")
}

/// A file for the reservations of one namespace.
#[derive(Clone, Debug)]
pub(super) struct File {
    path: String,
    device: Uuid,
}

/// Files that namespaces are about to have: each has looked whether another has it, and is not
/// there yet itself.
static TAKEN: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// A file that nobody else begins to use until this is dropped.
#[derive(Debug)]
pub(super) struct Claim(String);

impl Claim {
    /// `None` if somebody is about to. The path is [resolved](resolve).
    pub(super) fn new(path: &str) -> Option<Self> {
        let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.iter().any(|it| collide(it, path)) {
            return None;
        }
        taken.push(path.into());
        Some(Self(path.into()))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        TAKEN.lock().unwrap_or_else(PoisonError::into_inner).retain(|it| *it != self.0);
    }
}

/// What is in it. SPDK refuses what has a key more.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    ptpl: bool,
    #[serde(default)]
    rtype: u8,
    #[serde(default)]
    crkey: u64,
    bdev_uuid: String,
    #[serde(default)]
    holder_uuid: String,
    registrants: Vec<Registrant>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Registrant {
    rkey: u64,
    host_uuid: String,
}

impl File {
    pub(super) fn new(path: String, device: Uuid) -> Self {
        Self { path, device }
    }

    /// What was kept; nothing if there is no such file yet.
    pub(super) fn read(&self) -> Result<Option<Kept>, String> {
        let path = &self.path;
        let mut text = String::new();
        // Whoever opens a pipe that nobody writes to waits for ever.
        if fs::metadata(path).is_ok_and(|it| !it.is_file()) {
            return Err(format!("{path:?} is no file"));
        }
        match fs::File::open(path) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(why) => return Err(format!("{path:?} cannot be read: {why}")),
            Ok(file) => file.take(MOST + 1).read_to_string(&mut text).map_err(|why| format!("{path:?} cannot be read: {why}"))?,
        };
        let wrong = |why: &str| format!("{path:?} is no file of reservations: {why}; move it away to begin without any");
        if text.len() as u64 > MOST {
            return Err(wrong("it is too long"));
        }
        // So SPDK leaves it where nothing is kept.
        if text.trim().is_empty() {
            return Ok(None);
        }
        let written: Written = serde_json::from_str(&text).map_err(|why| wrong(&why.to_string()))?;
        if !written.ptpl || written.registrants.is_empty() {
            return Ok(None);
        }
        if written.bdev_uuid.parse() != Ok(self.device) {
            return Err(wrong(&format!("it is of the device {}, and this one is {}", written.bdev_uuid, self.device)));
        }
        written.kept().map(Some).map_err(|why| wrong(&why))
    }

    /// What the file is to say.
    fn text(&self, kept: Option<&Kept>) -> String {
        let nothing = Kept::default();
        let Kept { hosts, held } = kept.unwrap_or(&nothing);
        let by_all = matches!(held, Some((Kind::WriteExclusiveAll | Kind::ExclusiveAccessAll, _)));
        let key = |holder: &[u8; 16]| hosts.iter().find(|(id, _)| id == holder).map_or(0, |(_, key)| *key);
        let written = Written {
            ptpl: kept.is_some(),
            rtype: held.map_or(0, |(kind, _)| kind as u8),
            crkey: held.map_or(0, |(_, by)| key(&by)),
            bdev_uuid: self.device.to_string(),
            holder_uuid: held.filter(|_| !by_all).map_or(String::new(), |(_, by)| text_of(&by)),
            registrants: hosts.iter().map(|(id, key)| Registrant { rkey: *key, host_uuid: text_of(id) }).collect(),
        };
        serde_json::to_string_pretty(&written).unwrap_or_default()
    }
}

impl Written {
    fn kept(&self) -> Result<Kept, String> {
        let mut hosts = Vec::new();
        for it in &self.registrants {
            hosts.push((id_of("host_uuid", &it.host_uuid)?, it.rkey));
        }
        let held = match (self.rtype, Kind::of(self.rtype)) {
            (0, _) => None,
            (rtype, None) => return Err(format!("rtype {rtype} is none")),
            (_, Some(kind @ (Kind::WriteExclusiveAll | Kind::ExclusiveAccessAll))) => Some((kind, hosts[0].0)),
            (_, Some(kind)) => Some((kind, id_of("holder_uuid", &self.holder_uuid)?)),
        };
        if self.crkey != 0 && !hosts.iter().any(|(_, key)| *key == self.crkey) {
            return Err(format!("crkey {} is no registrant's", self.crkey));
        }
        Ok(Kept { hosts, held })
    }
}

fn text_of(hostid: &[u8; 16]) -> String {
    Uuid(u128::from_be_bytes(*hostid)).to_string()
}

fn id_of(key: &str, text: &str) -> Result<[u8; 16], String> {
    text.parse().map(|Uuid(bits)| bits.to_be_bytes()).map_err(|_| format!("{key} {text:?} is no uuid"))
}

impl Keeper for File {
    fn name(&self) -> &str {
        &self.path
    }

    fn keep(&self, mut what: ToKeep) {
        let file = self.clone();
        elsewhere(move || {
            let text = file.text(what.begin().as_ref());
            what.end(replace(&file.path, &text).map_err(|why| why.to_string()));
        });
    }
}

/// Puts a text in a file's place, as a whole and to stay.
fn replace(path: &str, text: &str) -> io::Result<()> {
    let new = beside(path);
    // What a run before has left there, or a pipe, whose opening would wait for a reader.
    match fs::remove_file(&new) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(why),
        _ => {}
    }
    let mut file = fs::File::create_new(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    // The name, too.
    fs::File::open(folder(path))?.sync_all()
}

/// Where a file lies.
fn folder(path: &str) -> &Path {
    let parent = Path::new(path).parent().unwrap_or(Path::new("/"));
    if parent.as_os_str().is_empty() { Path::new(".") } else { parent }
}

type Job = Box<dyn FnOnce() + Send>;

/// How many wait for that thread: of each namespace one. More are dropped.
const JOBS: usize = 1024;

/// Runs this on a thread that may wait for disks, one after the other: no core waits.
pub(super) fn elsewhere(job: impl FnOnce() + Send + 'static) {
    static TO: Mutex<Option<SyncSender<Job>>> = Mutex::new(None);
    let Ok(mut to) = TO.lock() else { return };
    let to = to.get_or_insert_with(|| {
        let (to, jobs) = mpsc::sync_channel::<Job>(JOBS);
        // Where there is no thread, the jobs are dropped with their end of the channel, and whoever
        // waits for one hears that it has come to nothing.
        let _ = thread::Builder::new().name("nvmf-ptpl".into()).spawn(move || jobs.into_iter().for_each(|job| job()));
        to
    });
    let _ = to.try_send(Box::new(job));
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICE: &str = "0d6dc05e-1e8a-4f2c-9b4e-2f0f2b9a8c11";
    const HOST: &str = "11111111-2222-4333-8444-555555555555";

    fn file(text: Option<&str>) -> (std::sync::Arc<tempfile::TempDir>, File) {
        let dir = std::sync::Arc::new(tempfile::tempdir().expect("a folder"));
        let path = dir.path().join("ptpl.json");
        if let Some(text) = text {
            fs::write(&path, text).expect("a file");
        }
        let file = File::new(path.to_str().expect("a name").into(), DEVICE.parse().expect("a uuid"));
        (dir, file)
    }

    #[test]
    fn s351_a_file_is_taken_by_one_at_a_time() {
        let first = Claim::new("/s351/a").expect("nobody has it");
        assert!(Claim::new("/s351/a").is_none() && Claim::new("/s351/b").is_some());
        drop(first);
        assert!(Claim::new("/s351/a").is_some());
    }

    #[test]
    fn s351_one_file_has_one_path() {
        let dir = tempfile::tempdir().expect("a folder");
        let base = dir.path().canonicalize().expect("it is there");
        let path = |name: &str| base.join(name).to_str().expect("a name").to_string();
        fs::create_dir(path("sub")).expect("a folder");
        std::os::unix::fs::symlink(path("p"), path("link")).expect("a link");
        std::os::unix::fs::symlink(&base, path("sub/up")).expect("a link");
        // Before it is there and then, and by its link then.
        for is_there in [false, true] {
            if is_there {
                fs::write(path("p"), "").expect("a file");
                assert_eq!(resolve(&path("link")), Ok(path("p")));
            }
            for way in ["p", "./p", "sub/../p", "sub/up/p", "sub//up/./p"] {
                assert_eq!(resolve(&path(way)), Ok(path("p")), "{way}");
            }
        }
        for none in ["", "none/..", "none/p"] {
            assert!(resolve(none).is_err(), "{none:?}");
        }
        // Where one is written before it takes its place, no other lies.
        let first = Claim::new(&path("p")).expect("nobody has it");
        assert!(Claim::new(&path("p.new")).is_none() && Claim::new(&path("p.new.new")).is_some());
        drop(first);
        let _new = Claim::new(&path("p.new")).expect("nobody has it");
        assert!(Claim::new(&path("p")).is_none());
    }

    #[test]
    fn s351_what_lies_where_a_file_is_written_is_not_opened() {
        let (dir, it) = file(Some(""));
        let new = dir.path().join("ptpl.json.new");
        let other = dir.path().join("other");
        fs::write(&other, "stays").expect("a file");
        std::os::unix::fs::symlink(&other, &new).expect("a link");
        replace(&it.path, "text").expect("the link is gone");
        assert_eq!(fs::read_to_string(&other).expect("a file"), "stays");
        assert_eq!(fs::read_to_string(&it.path).expect("a file"), "text");
        // What cannot be taken away is told.
        fs::create_dir(&new).expect("a folder");
        assert!(replace(&it.path, "more").is_err());
        assert_eq!(fs::read_to_string(&it.path).expect("a file"), "text");
    }

    #[test]
    fn s351_what_is_no_file_is_not_opened() {
        let it = File::new("/dev/null".into(), DEVICE.parse().expect("a uuid"));
        assert_eq!(it.read(), Err("\"/dev/null\" is no file".into()));
    }

    #[test]
    fn s379_what_spdk_has_written_is_read() {
        // As SPDK 26.09 writes it.
        let text = format!(
            r#"{{"ptpl":true,"rtype":1,"crkey":11,"bdev_uuid":"{DEVICE}","holder_uuid":"{HOST}","registrants":[{{"rkey":11,"host_uuid":"{HOST}"}}]}}"#
        );
        let (_dir, it) = file(Some(&text));
        let id = id_of("host_uuid", HOST).expect("a uuid");
        let kept = it.read().expect("it is one").expect("something");
        assert_eq!(kept, Kept { hosts: std::vec![(id, 11)], held: Some((Kind::WriteExclusive, id)) });
        // And ours says the same, in the same order.
        let own: String = it.text(Some(&kept)).split_whitespace().collect();
        assert_eq!(own, text);
        let all = Kept { held: Some((Kind::ExclusiveAccessAll, id)), ..kept };
        let text: String = it.text(Some(&all)).split_whitespace().collect();
        assert!(text.contains(r#""holder_uuid":"""#) && text.contains(r#""crkey":11"#), "{text}");
        for nothing in [None, Some(""), Some("\n"), Some(&*it.text(None))] {
            assert_eq!(file(nothing).1.read(), Ok(None), "{nothing:?}");
        }
    }

    #[test]
    fn s379_a_file_that_is_none_is_told_in_a_sentence() {
        let good = format!(
            r#"{{"ptpl":true,"rtype":1,"crkey":11,"bdev_uuid":"{DEVICE}","holder_uuid":"{HOST}","registrants":[{{"rkey":11,"host_uuid":"{HOST}"}}]}}"#
        );
        for (from, to, says) in [
            ("true", "tru", "expected"),
            (DEVICE, HOST, "it is of the device"),
            ("\"rtype\":1", "\"rtype\":9", "rtype 9"),
            ("\"rtype\":1", "\"rtype\":1,\"more\":1", "more"),
            ("\"crkey\":11", "\"crkey\":12", "crkey 12"),
            ("\"holder_uuid\":\"1", "\"holder_uuid\":\"x", "holder_uuid"),
            ("\"host_uuid\":\"1", "\"host_uuid\":\"x", "host_uuid"),
            ("\"registrants\"", "\"registrant\"", "registrant"),
        ] {
            let why = file(Some(&good.replacen(from, to, 1))).1.read().expect_err(to);
            assert!(why.contains(says) && why.contains("ptpl.json"), "{why}");
        }
        let long = " ".repeat(MOST as usize + 1);
        assert!(file(Some(&long)).1.read().expect_err("too long").contains("too long"));
        let (_dir, it) = file(None);
        let lost = it.path.replace("ptpl.json", "none/ptpl.json");
        assert!(resolve(&lost).expect_err("no folder").contains("no folder"));
        assert!(replace(&lost, "").is_err());
    }

    #[test]
    fn s379_a_file_is_replaced_as_a_whole() {
        let (dir, it) = file(Some("what was"));
        let (done, outcome) = mpsc::channel();
        for n in 0..20 {
            let done = done.clone();
            let kept = Kept { hosts: (0..=n).map(|id| ([id; 16], u64::from(id) + 1)).collect(), held: None };
            // Each of one namespace, or they would be one.
            let keeping = crate::keeping::Keeping::new(std::sync::Arc::new(it.clone()));
            keeping.keep(Some(kept), move |is_kept| done.send((n, is_kept)).expect("somebody waits"));
        }
        for n in 0..20 {
            assert_eq!(outcome.recv().expect("an answer"), (n, true), "in the order in which they were asked for");
        }
        assert_eq!(it.read().expect("it is one").expect("something").hosts.len(), 20);
        assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 1, "nothing is left beside it");
    }

    /// A namespace that is added anew with the file of one that was removed knows what that one has
    /// changed last.
    #[test]
    fn s478_what_changes_before_a_file_is_read_is_in_it() {
        let (_dir, it) = file(None);
        let keeping = crate::keeping::Keeping::new(std::sync::Arc::new(it.clone()));
        let keep = |key| keeping.keep(Some(Kept { hosts: std::vec![([1; 16], key)], held: None }), |is_kept| assert!(is_kept));
        let (go, gate) = mpsc::channel::<()>();
        elsewhere(move || {
            // Until the other end is dropped.
            let _ = gate.recv();
        });
        keep(1);
        let (tell, told) = mpsc::channel();
        elsewhere(move || tell.send(it.read()).expect("somebody waits"));
        keep(2);
        drop(go);
        let read = told.recv().expect("an answer").expect("it is one").expect("something");
        assert_eq!(read.hosts, [([1; 16], 2)]);
    }
}
