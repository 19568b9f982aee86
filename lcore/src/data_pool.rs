//! The data-buffer pool that an application's groups share: in hugepages where there are any, of
//! the size that the command line says.

use core_reactor::PlatformError;
use platform_linux::HugeMemory;
use pool::{ClassConfig, DataPool, DataPoolConfig, PoolError};

use crate::AppHandle;

/// The size of the pool, with the words of SPDK's `iobuf_set_options`. What is not given stays as
/// the application has it.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Buffer options")]
#[non_exhaustive]
pub struct PoolOptions {
    /// Small buffers in the shared pool.
    #[arg(long, value_name = "BUFFERS")]
    pub small_pool_count: Option<usize>,
    /// Bytes of a small buffer.
    #[arg(long, value_name = "BYTES", value_parser = parse_size)]
    pub small_bufsize: Option<usize>,
    /// Large buffers in the shared pool.
    #[arg(long, value_name = "BUFFERS")]
    pub large_pool_count: Option<usize>,
    /// Bytes of a large buffer.
    #[arg(long, value_name = "BYTES", value_parser = parse_size)]
    pub large_bufsize: Option<usize>,
}

fn parse_size(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| "a buffer has 1 byte at least, as a whole number".into())
}

/// Why there is no pool.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataPoolError {
    /// The system does not give the memory.
    #[error(
        "a pool of {} buffers of {} bytes and {} large ones of {} takes {} bytes: {why} (see --small-pool-count and its like)",
        config.small.count, config.small.size, config.large.count, config.large.size, config.footprint()
    )]
    Memory {
        /// What was asked for.
        config: DataPoolConfig,
        /// What the system says.
        why: PlatformError,
    },
    /// The sizes make no pool.
    #[error("the data-buffer pool: {0}")]
    Pool(#[from] PoolError),
}

impl PoolOptions {
    /// `defaults` with what was given in its place.
    pub(crate) fn over(&self, defaults: DataPoolConfig) -> DataPoolConfig {
        let class = |count: Option<usize>, size: Option<usize>, class: ClassConfig| ClassConfig {
            count: count.unwrap_or(class.count),
            size: size.unwrap_or(class.size),
        };
        defaults.small(class(self.small_pool_count, self.small_bufsize, defaults.small)).large(class(
            self.large_pool_count,
            self.large_bufsize,
            defaults.large,
        ))
    }
}

impl AppHandle {
    /// The application's pool, made when it is first asked for: of the sizes on the command line,
    /// and `defaults` for the rest.
    ///
    /// ```
    /// use lcore::App;
    /// use lcore::pool::{Class, DataPoolConfig};
    ///
    /// App::new("pool").try_run(|_, app| {
    ///     let pool = app.data_pool(DataPoolConfig::default())?;
    ///     assert_eq!(pool.stats(Class::Small).count, 2048);
    ///     app.stop(0);
    ///     Ok(())
    /// })?;
    /// # Ok::<(), lcore::Failure>(())
    /// ```
    ///
    /// # Errors
    /// There is no memory for it, or the sizes make no pool.
    pub fn data_pool(&self, defaults: DataPoolConfig) -> Result<&DataPool, DataPoolError> {
        if let Some(pool) = self.made_pool() {
            return Ok(pool);
        }
        let config = self.pool_config(defaults);
        let memory = HugeMemory::new(config.footprint()).map_err(|why| DataPoolError::Memory { config, why })?;
        let pool = DataPool::new(config, Box::new(memory))?;
        Ok(self.keep_pool(pool))
    }
}
