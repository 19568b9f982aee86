//! How large a data-buffer pool and a group's share of it are, and what they count.

use statistics::stats;

/// Bytes that data buffers are aligned to, and that [`Memory`](crate::Memory) must be: a page,
/// which is also the block of an NVMe device.
pub const DATA_ALIGN: usize = 4096;

/// A size of data buffers. Each class is lent and waited for on its own.
///
/// ```
/// use pool::Class;
///
/// assert_eq!(Class::ALL.map(Class::name), ["small", "large", "control"]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// For headers and short messages; SPDK's small `iobuf`.
    Small,
    /// For payload; SPDK's large `iobuf`.
    Large,
    /// Set aside for control messages, so that they get through when data has taken everything
    /// else.
    Control,
}

impl Class {
    /// How many classes there are.
    pub const COUNT: usize = 3;
    /// The classes, in the order of their buffers' indices.
    pub const ALL: [Class; Class::COUNT] = [Class::Small, Class::Large, Class::Control];

    /// What statistics call it.
    pub const fn name(self) -> &'static str {
        match self {
            Class::Small => "small",
            Class::Large => "large",
            Class::Control => "control",
        }
    }
}

/// The buffers of one class. None at all (a count of 0) is a class that nobody uses.
///
/// ```
/// use pool::{Class, ClassConfig, DataPool, DataPoolConfig};
///
/// // Nobody uses large buffers here.
/// let config = DataPoolConfig::DEFAULT.large(ClassConfig { count: 0, size: 0 });
/// assert_eq!(DataPool::on_heap(config)?.stats(Class::Large).count, 0);
/// # Ok::<(), pool::PoolError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClassConfig {
    /// Buffers.
    pub count: usize,
    /// Bytes that each holds. Each takes a multiple of [`DATA_ALIGN`] of the memory.
    pub size: usize,
}

impl ClassConfig {
    /// Bytes from one buffer to the next.
    pub(crate) fn stride(self) -> usize {
        self.size.checked_next_multiple_of(DATA_ALIGN).unwrap_or(usize::MAX)
    }
}

/// The buffers of a [`DataPool`](crate::DataPool). What it takes is fixed: it does not grow with
/// connections.
///
/// ```
/// use pool::DataPoolConfig;
///
/// let config = DataPoolConfig::DEFAULT.waiters(16);
/// assert_eq!(config.footprint() >> 20, 32, "MiB");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct DataPoolConfig {
    /// 2048 buffers of 8 KiB unless told otherwise.
    pub small: ClassConfig,
    /// 128 buffers of 128 KiB unless told otherwise.
    pub large: ClassConfig,
    /// 128 buffers of 4 KiB unless told otherwise.
    pub control: ClassConfig,
    /// Requests that can wait at a time, for each class; 0 where nobody waits.
    pub waiters: usize,
}

impl Default for DataPoolConfig {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl DataPoolConfig {
    /// What nobody has told otherwise, for constants.
    pub const DEFAULT: Self = Self {
        small: ClassConfig { count: 2048, size: 8 << 10 },
        large: ClassConfig { count: 128, size: 128 << 10 },
        control: ClassConfig { count: 128, size: 4 << 10 },
        waiters: 256,
    };

    /// The same with these [`small`](field@Self::small) buffers.
    ///
    /// ```
    /// use pool::{ClassConfig, DataPoolConfig};
    ///
    /// const CONFIG: DataPoolConfig = DataPoolConfig::DEFAULT.small(ClassConfig { count: 64, size: 4096 }).waiters(4);
    /// assert_eq!((CONFIG.small.count, CONFIG.waiters, CONFIG.large.count), (64, 4, 128));
    /// ```
    #[must_use]
    pub const fn small(mut self, small: ClassConfig) -> Self {
        self.small = small;
        self
    }

    /// The same with these [`large`](field@Self::large) buffers.
    ///
    /// ```
    /// use pool::{ClassConfig, DataPoolConfig};
    ///
    /// let config = DataPoolConfig::DEFAULT.large(ClassConfig { count: 4, size: 1 << 20 });
    /// assert_eq!(config.large.size, 1 << 20);
    /// ```
    #[must_use]
    pub const fn large(mut self, large: ClassConfig) -> Self {
        self.large = large;
        self
    }

    /// The same with these [`control`](field@Self::control) buffers.
    #[must_use]
    pub const fn control(mut self, control: ClassConfig) -> Self {
        self.control = control;
        self
    }

    /// The same with so many [`waiters`](field@Self::waiters).
    #[must_use]
    pub const fn waiters(mut self, waiters: usize) -> Self {
        self.waiters = waiters;
        self
    }

    /// The buffers of `class`.
    ///
    /// ```
    /// use pool::{Class, DataPoolConfig};
    ///
    /// let config = DataPoolConfig::default();
    /// let buffers: usize = Class::ALL.into_iter().map(|class| config.class(class).count).sum();
    /// assert_eq!(buffers, 2048 + 128 + 128);
    /// ```
    pub fn class(&self, class: Class) -> ClassConfig {
        match class {
            Class::Small => self.small,
            Class::Large => self.large,
            Class::Control => self.control,
        }
    }

    /// Bytes of memory that the buffers take, `usize::MAX` if that is too small a number.
    ///
    /// ```
    /// use pool::{ClassConfig, DataPoolConfig};
    ///
    /// let none = ClassConfig { count: 0, size: 0 };
    /// let config = DataPoolConfig::DEFAULT.large(none).control(none).small(ClassConfig { count: 10, size: 1000 });
    /// assert_eq!(config.footprint(), 10 * 4096, "each begins at a page");
    /// ```
    pub fn footprint(&self) -> usize {
        let bytes = |class: ClassConfig| class.count.saturating_mul(class.stride());
        bytes(self.small).saturating_add(bytes(self.large)).saturating_add(bytes(self.control))
    }
}

/// Buffers of each class: what a group reserves, or could.
///
/// ```
/// use pool::{Class, ReserveConfig};
///
/// let reserve = ReserveConfig { large: 0, ..ReserveConfig::default() };
/// assert_eq!((reserve.class(Class::Small), reserve.class(Class::Large)), (64, 0));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReserveConfig {
    /// 64 unless told otherwise.
    pub small: usize,
    /// 8 unless told otherwise.
    pub large: usize,
    /// 8 unless told otherwise.
    pub control: usize,
}

impl Default for ReserveConfig {
    fn default() -> Self {
        Self { small: 64, large: 8, control: 8 }
    }
}

impl ReserveConfig {
    /// The buffers of `class`.
    pub fn class(&self, class: Class) -> usize {
        match class {
            Class::Small => self.small,
            Class::Large => self.large,
            Class::Control => self.control,
        }
    }
}

stats! {
    /// One class of a [`BufGroup`](crate::BufGroup), counted since the group was made. Counts are
    /// modulo 2³² on 32-bit targets.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
    #[non_exhaustive]
    pub struct GroupStats {
        /// Buffers that are the group's own.
        pub reserve: usize => gauge("lcore_poll_group_buffers"),
        /// Buffers that are out.
        pub in_use: usize => gauge("lcore_poll_group_buffers_in_use"),
        /// The most that were out at a time.
        pub high_water: usize => peak("lcore_poll_group_buffers_high_water"),
        /// Buffers handed out of the reserve.
        pub from_reserve: u64 => counter("lcore_poll_group_buffers_from_reserve_total"),
        /// Buffers handed out of the shared pool.
        pub from_shared: u64 => counter("lcore_poll_group_buffers_from_shared_total"),
        /// Requests that had to wait.
        pub waits: u64 => counter("lcore_poll_group_requests_waited_total"),
        /// The longest that a request waited until it was polled.
        pub longest_wait_ns: u64 => peak_ns("lcore_poll_group_longest_wait_seconds"),
    }
}

stats! {
    /// One class of a [`DataPool`](crate::DataPool), over all groups, those that ended included.
    /// Counts are modulo 2³² on 32-bit targets.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
    #[non_exhaustive]
    pub struct PoolStats {
        /// Buffers in all.
        pub count: usize => gauge("lcore_pool_buffers"),
        /// Buffers that are out. Exact when no core takes or returns at this moment.
        pub in_use: usize => gauge("lcore_pool_buffers_in_use"),
        /// Buffers that groups have reserved.
        pub reserved: usize => gauge("lcore_pool_buffers_reserved"),
        /// Buffers free in the shared pool.
        pub free: usize => gauge("lcore_pool_buffers_free"),
        /// The most that were out of the shared pool at a time, reserved ones included.
        pub high_water: usize => peak("lcore_pool_buffers_high_water"),
        /// Requests that wait now.
        pub waiting: usize => gauge("lcore_pool_requests_waiting"),
        /// Buffers handed out of reserves.
        pub from_reserve: u64 => counter("lcore_pool_buffers_from_reserve_total"),
        /// Buffers handed out of the shared pool.
        pub from_shared: u64 => counter("lcore_pool_buffers_from_shared_total"),
        /// Requests that had to wait.
        pub waits: u64 => counter("lcore_pool_requests_waited_total"),
        /// The longest that a request waited until it was polled.
        pub longest_wait_ns: u64 => peak_ns("lcore_pool_longest_wait_seconds"),
    }
}

impl PoolStats {
    /// Adds what a group counted.
    pub(crate) fn add(&mut self, group: &GroupStats) {
        self.from_reserve += group.from_reserve;
        self.from_shared += group.from_shared;
        self.waits += group.waits;
        self.longest_wait_ns = self.longest_wait_ns.max(group.longest_wait_ns);
    }
}
