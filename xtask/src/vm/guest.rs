//! What runs inside: init, which is a script for busybox, and the job that it is given.
//!
//! Init speaks with us over the second serial line: `VM_READY`, `VM_BROKEN=why`, `VM_EXIT=code`; it
//! is told `start` and `stop`. The first serial line is the console, with the kernel's and the
//! command's output, so that no program can spoil a verdict.

use std::fmt::Write;

/// The machine's first process. `/vm/job` sets what is in capitals, `/vm/command` is the command.
pub(super) const INIT: &str = r#"#!/bin/sh
# Made by cargo xtask vm: mounts, modules, the RDMA device, the command, its verdict.
export PATH=/job:/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/shm /dev/pts /var/tmp
mount -t tmpfs -o mode=1777 shm /dev/shm
mount -t devpts pts /dev/pts
chmod 1777 /tmp /var/tmp
exec 3<>/dev/ttyS1
stty -F /dev/ttyS1 raw -echo

say() { echo "$*" >&3; }
end() {
    # Setting a line waits until all that was written is out.
    stty -F /dev/ttyS0 sane
    stty -F /dev/ttyS1 raw -echo
    poweroff -f
    sleep 60
}
broken() { say "VM_BROKEN=$*"; end; }
try() { out=$("$@" 2>&1) || broken "$*: $out"; }
load() {
    while read -r name file; do
        [ -d "/sys/module/$name" ] || try insmod "$file"
    done < "/vm/modules/$1"
}
active() { grep -q ACTIVE /sys/class/infiniband/rxe0/ports/1/state; }

. /vm/job
# Should whoever started the machine be killed, it does not stay for ever.
[ -z "$LIMIT" ] || { sleep "$LIMIT"; poweroff -f; } &
# A kernel with a fault gives no verdict.
echo 1 > /proc/sys/kernel/panic_on_oops
[ "$HUGEPAGES" = 0 ] || echo "$HUGEPAGES" > /proc/sys/vm/nr_hugepages
if [ -n "$SHARE" ]; then
    load share
    try mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 out /out
fi
load rdma
load "$LINK"
if [ -n "$NETWORK" ]; then
    load virtio_net
    try ip link set eth0 name u0
    try ip addr add 10.0.2.15/24 dev u0
    try ip link set u0 up
fi
if [ -n "$NVME" ]; then
    load nvme
    try mount -t configfs config /sys/kernel/config
fi
try ip link set lo up
case "$LINK" in
dummy) try ip link add d0 type dummy ;;
*) try ip link set eth0 name d0 ;;
esac
try ip addr add "$ADDRESS/24" dev d0
try ip link set d0 up
try rdma link add rxe0 type rxe netdev d0
tries=0
until active; do
    tries=$((tries + 1))
    [ $tries -lt 200 ] || broken "rxe0 does not become active: $(cat /sys/class/infiniband/rxe0/ports/1/state)"
    usleep 20000
done
ulimit -n 65536
ulimit -l "$MEMLOCK" || broken "ulimit -l $MEMLOCK"
cd /job
if [ -n "$INTERACTIVE" ]; then
    echo "rxe0 is at $ADDRESS; exit or ^D ends the machine, ^A x kills it"
    setsid cttyhack sh 3>&-
    end
fi
stty -F /dev/ttyS0 -onlcr
say VM_READY
if [ -n "$WAIT" ]; then
    read -r word <&3
else
    { read -r word <&3; kill -INT "-$(cat /run/command)"; } &
fi
# A session of its own, so that SIGINT reaches all of the command.
setsid sh /vm/command < /dev/null 3>&-
say "VM_EXIT=$?"
end
"#;

/// Addresses of the first and the second machine.
pub(super) const ADDRESSES: [&str; 2] = ["10.77.0.1", "10.77.0.2"];

/// Where a machine finds the ports of this computer that it is let to. Without `--to-host` nobody
/// is there.
pub(super) const HOST: &str = "10.0.2.100";

/// What one machine is to do.
#[derive(Debug, Clone, Default)]
pub(super) struct Job {
    /// 0 or 1; the other is the peer if there is one, and otherwise the machine is its own.
    pub(super) host: usize,
    pub(super) hosts: usize,
    /// KiB, or `unlimited`.
    pub(super) memlock: String,
    pub(super) hugepages: u32,
    /// Seconds after which it powers itself off.
    pub(super) limit: Option<u64>,
    /// NVMe over fabrics is loaded.
    pub(super) nvme: bool,
    /// It has a network to this computer.
    pub(super) network: bool,
    /// /out is a folder of this computer.
    pub(super) share: bool,
    pub(super) env: Vec<(String, String)>,
    /// The command waits for the word `start`.
    pub(super) wait: bool,
    pub(super) interactive: bool,
}

impl Job {
    /// The text of `/vm/job`.
    pub(super) fn script(&self) -> String {
        let own = ADDRESSES[self.host];
        let peer = if self.hosts == 2 { ADDRESSES[1 - self.host] } else { own };
        let link = if self.hosts == 2 { "virtio_net" } else { "dummy" };
        let limit = self.limit.map(|limit| limit.to_string()).unwrap_or_default();
        let flag = |on: bool| if on { "1" } else { "" };
        let mut text = format!("ADDRESS={own} LINK={link} MEMLOCK={} HUGEPAGES={} LIMIT={limit}\n", self.memlock, self.hugepages);
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "SHARE={} WAIT={} INTERACTIVE={} NVME={} NETWORK={}",
            flag(self.share),
            flag(self.wait),
            flag(self.interactive),
            flag(self.nvme),
            flag(self.network)
        );
        let _ = writeln!(text, "export LCORE_RDMA_ADDR={own} LCORE_RDMA_PEER={peer} LCORE_HOST_ADDR={HOST} RUST_BACKTRACE=1 TERM=dumb");
        for (name, value) in &self.env {
            let _ = writeln!(text, "export {name}={}", quoted(value));
        }
        text
    }
}

/// The text of `/vm/command`, whose process becomes the command.
pub(super) fn command(words: &[String]) -> String {
    let words = words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
    format!("echo $$ > /run/command\nexec {words}\n")
}

/// The text of `/vm/command` for a script, which outlives a SIGINT so that its exit code is that of
/// the program that got it too.
pub(super) fn script(text: &str) -> String {
    format!("echo $$ > /run/command\ntrap : INT\n{text}\n")
}

/// A word that the shell takes as it is.
pub(super) fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn the_shell_takes_words_as_they_are() {
        let words = ["printf", "%s|", "it's", "a b", "$HOME", "`id`", "\\", "", "\"q\"", "*"].map(String::from);
        let script = command(&words).replace("/run/command", "/dev/null");
        let out = Command::new("sh").args(["-c", &script]).output().expect("runs");
        assert_eq!(String::from_utf8_lossy(&out.stdout), r#"it's|a b|$HOME|`id`|\||"q"|*|"#);
    }

    #[test]
    fn one_machine_is_its_own_peer_and_two_are_each_others() {
        let one = Job { hosts: 1, memlock: "64".into(), ..Job::default() }.script();
        assert!(one.contains("ADDRESS=10.77.0.1 LINK=dummy MEMLOCK=64 HUGEPAGES=0 LIMIT=\n"), "{one}");
        assert!(one.contains("LCORE_RDMA_ADDR=10.77.0.1 LCORE_RDMA_PEER=10.77.0.1 "), "{one}");
        let second = Job { host: 1, hosts: 2, wait: true, limit: Some(9), ..Job::default() }.script();
        assert!(second.contains("LCORE_RDMA_ADDR=10.77.0.2 LCORE_RDMA_PEER=10.77.0.1 "), "{second}");
        assert!(second.contains("LINK=virtio_net") && second.contains("LIMIT=9\n") && second.contains("SHARE= WAIT=1 "), "{second}");
    }

    #[test]
    fn the_environment_is_quoted() {
        let job = Job { env: vec![("A".into(), "x y; reboot".into())], ..Job::default() };
        assert!(job.script().ends_with("export A='x y; reboot'\n"));
    }

    #[test]
    fn init_and_a_job_are_scripts_that_a_shell_can_read() {
        for script in [INIT.to_owned(), Job::default().script()] {
            let out = Command::new("sh").args(["-n", "-c", &script]).output().expect("runs");
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        }
    }
}
