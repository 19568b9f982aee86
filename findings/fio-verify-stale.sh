#!/bin/sh
# fio 3.33 (Debian 3.33-3, seen 2026-11-30): `verify_only` says that all is as the load wrote it although every write of that load was lost, if an earlier load of the
# same block size filled the disk with other data. The manual has it that what is there still matches "previous invocation of this workload". A block's header
# does hold the seed of its data, and the two loads here have seeds, and so data, of their own; the seed is not compared. What lies there passes as long as its own
# checksum is right and it is in its place. So it tells nothing of writes that were lost after a crash on a disk that was used before: zero the disk first, which
# is noticed. Known to fio's authors as issues 933 and 1067 (open). nvme-perf knows how often each block was written, and names data of an earlier time.
#
# A file is filled by one load and copied, or zeroed and copied; another load fills it again; the copy is put back, so that all writes of the second load are lost; then the
# second load is verified. Seen: "lost over zeroes: 1, over another load: 0" (0 is "all as it was written"). Fails if that changes.
# Needs fio on the PATH, or apt-get and dpkg-deb to bring Debian's into a temporary folder, with its libraries installed.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
run=fio
if ! command -v fio >/dev/null; then
    apt-get download fio >/dev/null && dpkg-deb -x fio_*.deb .
    run=$dir/usr/bin/fio
fi
"$run" --version
load() {
    "$run" --name=load --filename="$dir/disk" --size=4M --ioengine=psync --rw=randwrite --bs=4k --verify=crc32c --verify_fatal=1 --thread "$@" >"$dir/said" 2>&1
}
# Puts the copy back over what the second load wrote, and has that load verified.
lost() {
    load --do_verify=0 --randseed=2
    ! cmp -s disk before || { echo "the second load wrote what the first had" >&2; exit 2; }
    cp before disk
    if load --verify_only --randseed=2; then echo 0; else echo 1; fi
}
head -c 4M /dev/zero >before
zeroes=$(lost)
load --do_verify=0 --randseed=1
cp disk before
seen="lost over zeroes: $zeroes, over another load: $(lost)"
echo "$seen"
[ "$seen" = "lost over zeroes: 1, over another load: 0" ]
