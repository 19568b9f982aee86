//! What a run is to do, made of the command line and of what the controller says.

use lcore::platform::available_memory;
use lcore::pool::{ClassConfig, DataPoolConfig, ReserveConfig};
use nvme::{Shape, identify};

use crate::admin;
use crate::args::{Args, Host};
use crate::auth::Proof;
use crate::error::Trouble;
use crate::pattern::Pattern;
use crate::secure::Keys;
use crate::space::{ENTRY, Space};
use crate::target::Target;

/// Buffers that a core receives into, and their size: no multiple of 4096, so that the target is
/// measured and not what some processors make of copies between pages (decision 0155).
const RECEIVE: ClassConfig = ClassConfig { count: 64, size: (32 << 10) - 64 };
/// Bytes of a buffer with headers.
const HEADERS: usize = 4096;
/// The most data of a buffer, and room for the header and the padding before it.
const LARGEST: u64 = 128 << 10;
const HEAD: usize = 128;
/// Bytes of the tables of what each unit holds.
const MOST_TABLE: u64 = 256 << 20;

/// What the workers of all cores are told.
pub(crate) struct Plan {
    pub(crate) target: Target,
    pub(crate) hostnqn: String,
    pub(crate) hostid: [u8; 16],
    pub(crate) proof: Proof,
    pub(crate) cntlid: u16,
    pub(crate) shape: Shape,
    /// With which connections are secured, if they are.
    pub(crate) keys: Option<Keys>,
    pub(crate) in_capsule: u32,
    pub(crate) nsid: u32,
    /// Blocks of a unit.
    pub(crate) blocks: u32,
    /// Bytes of a unit.
    pub(crate) size: u32,
    /// Units that are used, over all cores.
    pub(crate) units: u64,
    pub(crate) cores: u64,
    /// Of each core.
    pub(crate) queues: u16,
    /// Commands in flight of each core.
    pub(crate) depth: u32,
    /// How many were asked for, which may be more than its queues have entries for.
    pub(crate) asked: u32,
    /// Entries of each queue.
    pub(crate) entries: u16,
    pub(crate) random: bool,
    /// Percent of reads.
    pub(crate) reads: u8,
    pub(crate) seed: u64,
    /// What is compared, if anything is.
    pub(crate) pattern: Option<Pattern>,
}

/// What the controller says, as far as it bounds a run.
pub(crate) struct Limits {
    pub(crate) cntlid: u16,
    pub(crate) queues: u16,
    pub(crate) entries: u32,
    pub(crate) in_capsule: u32,
    pub(crate) max_transfer: Option<u32>,
}

impl Plan {
    pub(crate) fn new(
        args: &Args,
        target: &Target,
        ((hostnqn, hostid), keys): ((String, [u8; 16]), Option<Keys>),
        cores: usize,
        limits: &Limits,
        (nsid, namespace): (u32, &identify::Namespace),
    ) -> Result<Self, Trouble> {
        let unfit = |text: String| Err(Trouble::Unfit(text));
        let format = namespace.formats[usize::from(namespace.flbas & 0xF)];
        let block = match format.shift {
            shift @ 9..=20 => 1_u64 << shift,
            shift => return unfit(format!("namespace {nsid}: blocks of 2^{shift} bytes, which this program does not know")),
        };
        if format.metadata.get() != 0 {
            return unfit(format!("namespace {nsid}: blocks with metadata, which this program does not know"));
        }
        if !args.size.is_multiple_of(block) || args.size / block > 1 << 16 {
            return unfit(format!("-o {}: a command moves 1 to 65536 blocks, and those of namespace {nsid} have {block} bytes", args.size));
        }
        if let Some(most) = limits.max_transfer.filter(|most| args.size > u64::from(*most)) {
            return unfit(format!("-o {}: the controller takes {most} bytes in one command at most (MDTS)", args.size));
        }
        let cores = cores as u64;
        let wanted = cores * u64::from(args.queues);
        if wanted > u64::from(limits.queues) {
            return unfit(format!("-P {} on {cores} cores are {wanted} queues, and the controller has {}", args.queues, limits.queues));
        }
        if u64::from(args.depth) < u64::from(args.queues) {
            return unfit(format!("-q {} on -P {} queues leaves some without a command", args.depth, args.queues));
        }
        // One entry stays empty.
        let each = args.depth.div_ceil(u32::from(args.queues)).min(limits.entries.saturating_sub(1)).max(1);
        let depth = args.depth.min(each * u32::from(args.queues));
        let bytes = namespace.nsze.get().saturating_mul(block).min(args.range.unwrap_or(u64::MAX));
        let units = bytes / args.size;
        if units < cores * (u64::from(args.depth) + 1) {
            return unfit(format!(
                "{bytes} bytes are too few for -q {} of {} bytes on {cores} cores: each command has a place of its own",
                args.depth, args.size
            ));
        }
        if args.verify && units * ENTRY > MOST_TABLE {
            let most = MOST_TABLE / ENTRY * args.size;
            return unfit(format!("--verify keeps {ENTRY} bytes for each of {units} places: give --size {most} or less, or a larger -o"));
        }
        Ok(Self {
            target: target.clone(),
            proof: Proof::new(&args.host, &hostnqn, &target.subnqn),
            hostnqn,
            hostid,
            cntlid: limits.cntlid,
            shape: shape(&args.host),
            keys,
            in_capsule: limits.in_capsule,
            nsid,
            blocks: (args.size / block) as u32,
            size: args.size as u32,
            units,
            cores,
            queues: args.queues,
            depth,
            asked: args.depth,
            entries: (each + 1) as u16,
            random: args.workload.is_random(),
            reads: args.reads().map_err(Trouble::Unfit)?,
            seed: args.seed,
            pattern: args.verify.then(|| Pattern::new(args.seed, block)),
        })
    }

    /// The part of a core.
    pub(crate) fn space(&self, core: u64) -> Space {
        let begin = |core: u64| (u128::from(self.units) * u128::from(core) / u128::from(self.cores)) as u64;
        Space::new(begin(core), begin(core + 1) - begin(core), self.blocks.into(), self.pattern.is_some())
    }

    /// The depth of a queue of a core: the first ones have what is left over.
    pub(crate) fn depth_of(&self, queue: u16) -> u16 {
        let (each, rest) = (self.depth / u32::from(self.queues), self.depth % u32::from(self.queues));
        (each + u32::from(u32::from(queue) < rest)) as u16
    }

    /// Buffers that the data of one command takes.
    pub(crate) fn data_buffers(&self) -> usize {
        u64::from(self.size).div_ceil(LARGEST) as usize
    }
}

/// What a connection is asked to be.
pub(crate) fn shape(host: &Host) -> Shape {
    Shape { header_digest: host.header_digest, data_digest: host.data_digest, alignment: 0 }
}

/// The keys with which connections are secured, if they are to be.
pub(crate) fn keys(host: &Host, hostnqn: &str, subnqn: &str) -> Result<Option<Keys>, Trouble> {
    host.tls_key.as_ref().map(|path| Keys::read(path, hostnqn, subnqn)).transpose()
}

/// What a core reserves of the pool.
pub(crate) fn reserve(args: &Args) -> ReserveConfig {
    let writes = args.verify || !matches!(args.reads(), Ok(100));
    let depth = args.depth as usize;
    let large = if writes { depth * args.size.div_ceil(LARGEST) as usize } else { 0 };
    // In the worst case the header of each write has a buffer of its own.
    ReserveConfig {
        small: RECEIVE.count,
        large,
        control: (if writes { 2 * depth } else { depth / 16 }) + if args.host.tls_key.is_some() { depth + 16 } else { 16 },
    }
}

/// What the admin queue reserves.
pub(crate) fn admin_reserve() -> ReserveConfig {
    ReserveConfig { small: admin::BUFFERS, large: 0, control: admin::BUFFERS }
}

/// The pool of all cores and of the admin queue.
pub(crate) fn pool(args: Option<&Args>, cores: usize) -> Result<DataPoolConfig, Trouble> {
    let (each, own) = (args.map(reserve).unwrap_or(ReserveConfig { small: 0, large: 0, control: 0 }), admin_reserve());
    let size = args.map_or(HEADERS as u64, |args| args.size).min(LARGEST) as usize;
    let config = DataPoolConfig::DEFAULT
        .small(ClassConfig { count: cores * each.small + own.small, size: RECEIVE.size })
        .large(ClassConfig { count: cores * each.large, size: size + HEAD })
        .control(ClassConfig { count: cores * each.control + own.control, size: HEADERS })
        .waiters(0);
    match available_memory() {
        Some(there) if config.footprint() as u64 > there => Err(Trouble::Unfit(format!(
            "-q and -o take {} MiB of buffers, and {} MiB of memory are available",
            config.footprint() >> 20,
            there >> 20
        ))),
        _ => Ok(config),
    }
}
