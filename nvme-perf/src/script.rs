//! What is done, from top to bottom: the application, and the futures that its first thread polls.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use lcore::{App, AppHandle, AppOptions, Cx, Failure, Instant, Polled, Schedule, ShardConfig, Sharded, ThreadHandle};
use nvme::fabrics::{ConnectData, DISCOVERY_NQN};
use nvme::identify::{self, cns};
use nvme::{Shape, Sqe};
use zerocopy::FromBytes;

use crate::admin::{Admin, PATIENCE, connect_data};
use crate::args::{Args, Command, Host, Look};
use crate::auth::Proof;
use crate::error::Trouble;
use crate::plan::{self, Limits, Plan};
use crate::report::{Report, Tally};
use crate::secure::Keys;
use crate::target::Target;
use crate::worker::{Common, Job, Worker};
use crate::{discover, identify as show};

/// How often the time is looked at.
const TICK: Duration = Duration::from_millis(10);

type Workers = Sharded<Worker>;
type Script = Pin<Box<dyn Future<Output = Result<(), Trouble>>>>;

pub(crate) fn run(args: Args) -> ExitCode {
    let options = match &args.command {
        None => args.app(),
        Some(Command::Identify(look) | Command::Discover(look)) => {
            let mut options = AppOptions::default();
            options.net.clone_from(&look.net);
            options
        }
    };
    // The first signal ends what runs, and what there is is still told.
    let app = App::new("nvme_perf").options(options).network().on_shutdown(|cx, _| Inbox::here(cx, |inbox| inbox.stop = true));
    app.run(move |cx, app| {
        let script: Script = match args.command.clone() {
            None => load(cx, app, args)?,
            Some(Command::Identify(look)) => identify(cx, app, look)?,
            Some(Command::Discover(look)) => discover(cx, app, look)?,
        };
        begin(cx, app, script)
    })
}

type Begun<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// What the script waits for, beside the admin queue. It lies with the first thread.
pub(crate) struct Inbox {
    /// Workers that have done what they were told.
    done: usize,
    stop: bool,
    now: Instant,
    /// What the first worker that failed said, and what it had counted.
    failed: Option<Trouble>,
}

#[derive(Clone)]
struct Shared(Rc<RefCell<Inbox>>);

impl Inbox {
    fn open(cx: &mut Cx<'_>) -> Shared {
        let shared = Shared(Rc::new(RefCell::new(Self { done: 0, stop: false, now: cx.now(), failed: None })));
        cx.open_channel(shared.clone());
        shared
    }

    /// Runs `f` with the inbox of this thread, if it has one.
    fn here(cx: &mut Cx<'_>, f: impl FnOnce(&mut Self)) {
        if let Some(Shared(inbox)) = cx.channel::<Shared>().cloned() {
            f(&mut inbox.borrow_mut());
        }
    }

    /// Runs `f` with the inbox of that thread.
    pub(crate) fn tell(script: &ThreadHandle, f: impl FnOnce(&mut Self) + Send + 'static) {
        // A script that has ended wants to hear nothing.
        let _ = script.send(move |cx: &mut Cx<'_>| Self::here(cx, f));
    }

    pub(crate) fn worker_is_done(&mut self) {
        self.done += 1;
    }

    /// A worker has failed, or could not be made.
    pub(crate) fn tell_failure(script: &ThreadHandle, why: Trouble) {
        // A message has not room for all that may have gone wrong.
        let why = Box::new(why);
        Self::tell(script, move |inbox| inbox.failed = inbox.failed.take().or(Some(*why)));
    }
}

/// Polls a script, and the admin queue that it awaits, until it has ended.
fn begin(cx: &mut Cx<'_>, app: &AppHandle, mut script: Script) -> Begun<()> {
    let app = app.clone();
    cx.local_poller("script", Schedule::WhenAwake, move |cx: &mut Cx<'_>| {
        let now = cx.now();
        let admin = cx.channel::<Admin>().cloned();
        let got = admin.as_ref().map_or(0, |admin| admin.poll(now));
        Inbox::here(cx, |inbox| inbox.now = now);
        // An answer that came before the end of the connection says why it has ended.
        let outcome = match script.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => admin.and_then(|admin| admin.trouble()).map_or(Poll::Pending, |why| Poll::Ready(Err(why))),
            ready => ready,
        };
        match outcome {
            Poll::Pending => return if got > 0 { Polled::Busy } else { Polled::Idle },
            Poll::Ready(Ok(())) => app.stop(0),
            Poll::Ready(Err(why)) => app.fail(&why),
        }
        // They hold the thread.
        drop((cx.close_channel::<Admin>(), cx.close_channel::<Shared>()));
        Polled::Done
    });
    // Wakes the core, so that time is looked at.
    cx.poller("clock", Schedule::Every(TICK), |cx: &mut Cx<'_>| if cx.is_exiting() { Polled::Done } else { Polled::Idle });
    Ok(())
}

/// The host's names: NQN and identifier.
fn names(host: &Host, target: &Target) -> (String, [u8; 16]) {
    let mut id = [0; 16];
    fastrand::fill(&mut id);
    // A UUID of version 4.
    id[6] = id[6] & 0x0F | 0x40;
    id[8] = id[8] & 0x3F | 0x80;
    let nqn = host.hostnqn.clone().or_else(|| target.hostnqn.clone());
    (nqn.unwrap_or_else(|| format!("nqn.2014-08.org.nvmexpress:uuid:{}", show::uuid(&id))), id)
}

fn connect(cx: &mut Cx<'_>, app: &AppHandle, target: &Target, how: (Shape, Option<&Keys>), args: Option<&Args>) -> Begun<Admin> {
    let config = plan::pool(args, app.cores().iter().count()).map_err(|why| Failure::Usage(why.to_string()))?;
    let bufs = app.data_pool(config)?.group(plan::admin_reserve())?;
    let admin = Admin::connect(cx, app.net(), target.at, how, bufs)?;
    cx.open_channel(admin.clone());
    Ok(admin)
}

/// An admin queue, and what it is to connect with.
fn look(cx: &mut Cx<'_>, app: &AppHandle, look: &Look) -> Begun<(Admin, Shared, ConnectData, Proof)> {
    let (hostnqn, hostid) = names(&look.host, &look.target);
    let data = connect_data(&look.target.subnqn, &hostnqn, hostid, 0)?;
    let keys = plan::keys(&look.host, &hostnqn, &look.target.subnqn)?;
    let (inbox, proof) = (Inbox::open(cx), Proof::new(&look.host, &hostnqn, &look.target.subnqn));
    Ok((connect(cx, app, &look.target, (plan::shape(&look.host), keys.as_ref()), None)?, inbox, data, proof))
}

fn identify(cx: &mut Cx<'_>, app: &AppHandle, args: Look) -> Begun<Script> {
    let (admin, inbox, data, proof) = look(cx, app, &args)?;
    let app = app.clone();
    Ok(Box::pin(async move {
        inbox
            .unless_stopped(async {
                let queues = u16::from(!args.target.is_discovery());
                admin.bring_up(data, queues, &proof).await?;
                let text = show::print(&admin, &args).await?;
                app.println(text);
                admin.shut_down().await
            })
            .await
    }))
}

fn discover(cx: &mut Cx<'_>, app: &AppHandle, mut args: Look) -> Begun<Script> {
    // Whatever subsystem was named, this is asked of the one that knows them all.
    args.target.subnqn = DISCOVERY_NQN.into();
    let (admin, inbox, data, proof) = look(cx, app, &args)?;
    let app = app.clone();
    Ok(Box::pin(async move {
        inbox
            .unless_stopped(async {
                admin.bring_up(data, 0, &proof).await?;
                let text = discover::print(&admin, &args).await?;
                app.println(text);
                admin.shut_down().await
            })
            .await
    }))
}

fn load(cx: &mut Cx<'_>, app: &AppHandle, args: Args) -> Begun<Script> {
    let usage = |why: String| Failure::Usage(why);
    let target = args.target.clone().ok_or_else(|| usage("-r is missing".into()))?;
    if target.is_discovery() {
        return Err(usage("-r: subnqn is missing; nvme-perf discover lists the subsystems of a target".into()).into());
    }
    args.reads().map_err(usage)?;
    let inbox = Inbox::open(cx);
    let names = names(&args.host, &target);
    let keys = plan::keys(&args.host, &names.0, &target.subnqn)?;
    let admin = connect(cx, app, &target, (plan::shape(&args.host), keys.as_ref()), Some(&args))?;
    let (app, script) = (app.clone(), cx.handle());
    Ok(Box::pin(async move {
        let (plan, workers) = inbox.unless_stopped(prepare(&admin, &inbox, &app, script, &args, &target, (names, keys))).await?;
        let outcome = inbox.unless_stopped(fill(&inbox, &workers, &args)).await;
        outcome?;
        let cpu = cpu_time();
        inbox.begin(&workers, Job::Run);
        let mut ran = inbox.run_out(&workers, args.time).await;
        (0..workers.shards()).for_each(|shard| workers.send(shard, |worker, cx| worker.stop(cx.clock())));
        let cpu = cpu_time().saturating_sub(cpu);
        if ran.is_ok() {
            ran = wind_up(&inbox, &workers, &args, &plan, &app).await;
        }
        // What there is is told, however it ended.
        let tallies = inbox.tallies(&workers).await?;
        let report = Report::new(&args, &plan, tallies, cpu, app.net().name());
        if args.json {
            app.println(report.json())
        } else {
            app.println(&report)
        }
        ran?;
        admin.shut_down().await?;
        report.verdict().map_err(Trouble::Unfit)
    }))
}

/// What is said on the way, where people read.
fn note(args: &Args, app: &AppHandle, text: impl std::fmt::Display) {
    if !args.json {
        app.println(text);
    }
}

/// From the admin queue to I/O queues that are connected.
async fn prepare(
    admin: &Admin,
    inbox: &Shared,
    app: &AppHandle,
    script: ThreadHandle,
    args: &Args,
    target: &Target,
    ((hostnqn, hostid), keys): ((String, [u8; 16]), Option<Keys>),
) -> Result<(Arc<Plan>, Workers), Trouble> {
    note(args, app, "Initializing NVMe Controllers");
    let cores = app.cores().iter().count();
    let queues = u16::try_from(cores * usize::from(args.queues)).unwrap_or(u16::MAX);
    let proof = Proof::new(&args.host, &hostnqn, &target.subnqn);
    let bringup = admin.bring_up(connect_data(&target.subnqn, &hostnqn, hostid, 0)?, queues, &proof).await?;
    note(args, app, format_args!("Attached to NVMe over Fabrics controller at {}: {}", target.at, target.subnqn));
    let limits = Limits {
        cntlid: bringup.cntlid(),
        queues: bringup.queues(),
        entries: bringup.entries(),
        in_capsule: bringup.in_capsule(),
        max_transfer: bringup.max_transfer(),
    };
    let (nsid, namespace) = namespace(admin, target.nsid).await?;
    let plan = Arc::new(Plan::new(args, target, ((hostnqn, hostid), keys), cores, &limits, (nsid, &namespace))?);
    if plan.depth < plan.asked {
        let size = limits.entries;
        note(
            args,
            app,
            format_args!("Controller IO queue size {size}, less than required: {} commands in flight on each core", plan.depth),
        );
    }
    for core in app.cores().iter() {
        note(args, app, format_args!("Associating {target} NSID {nsid} with lcore {}", core.0));
    }
    let pool = app.data_pool(plan::pool(Some(args), cores)?)?.clone();
    let progress = (0..cores).map(|_| AtomicU64::new(0)).collect();
    let common = Common { plan: plan.clone(), net: app.net(), pool, reserve: plan::reserve(args), progress, script: script.clone() };
    let ready = move |_: &mut Cx<'_>, outcome: Result<&Workers, Trouble>| {
        if let Err(why) = outcome {
            Inbox::tell_failure(&script, why);
        }
    };
    let workers = Workers::start(app.lib(), ShardConfig::new("nvme_perf", app.cores()), common, ready)?;
    inbox.all_done(&workers).await?;
    note(args, app, "Initialization complete. Launching workers.");
    Ok((plan, workers))
}

/// The namespace that was asked for, or the first active one.
async fn namespace(admin: &Admin, asked: Option<u32>) -> Result<(u32, identify::Namespace), Trouble> {
    let list = admin.read("Identify of the active namespaces", Sqe::identify(cns::ACTIVE_NAMESPACES, 0), 4096).await?;
    let active = show::namespaces(&list);
    let nsid = asked.or_else(|| active.first().copied()).ok_or_else(|| Trouble::Unfit("the subsystem has no namespace".into()))?;
    if !active.contains(&nsid) {
        return Err(Trouble::Unfit(format!("the subsystem has no namespace {nsid}; it has {active:?}")));
    }
    let bytes = admin.read("Identify of the namespace", Sqe::identify(cns::NAMESPACE, nsid), 4096).await?;
    let namespace = identify::Namespace::read_from_bytes(&bytes).map_err(|_| Trouble::Unfit("Identify has another length".into()))?;
    Ok((nsid, namespace))
}

/// Gives each unit its first contents, where they are verified and read.
async fn fill(inbox: &Shared, workers: &Workers, args: &Args) -> Result<(), Trouble> {
    if args.verify && args.reads() != Ok(0) {
        inbox.begin(workers, Job::Fill);
        inbox.all_done(workers).await?;
    }
    Ok(())
}

/// Waits for what is in flight, and reads once more what was written, unless somebody is in a
/// hurry.
async fn wind_up(inbox: &Shared, workers: &Workers, args: &Args, plan: &Plan, app: &AppHandle) -> Result<(), Trouble> {
    inbox.all_done(workers).await?;
    if args.verify && plan.reads < 100 && !inbox.stopped() {
        note(args, app, "Reading back what was written.");
        inbox.begin(workers, Job::ReadBack);
        inbox.unless_stopped(inbox.all_done(workers)).await?;
    }
    Ok(())
}

impl Shared {
    /// Has all workers begin a job.
    fn begin(&self, workers: &Workers, job: Job) {
        (0..workers.shards()).for_each(|shard| workers.send(shard, move |worker, cx| worker.begin(job, cx.clock())));
    }

    fn stopped(&self) -> bool {
        self.0.borrow().stop
    }

    /// Waits until `what` gives something; the first failure ends it.
    async fn until<T>(&self, mut what: impl FnMut(&mut Inbox) -> Option<T>) -> Result<T, Trouble> {
        poll_fn(|_| {
            let mut inbox = self.0.borrow_mut();
            match inbox.failed.take() {
                Some(why) => Poll::Ready(Err(why)),
                None => what(&mut inbox).map_or(Poll::Pending, |it| Poll::Ready(Ok(it))),
            }
        })
        .await
    }

    /// Waits until all workers have done what they were told.
    async fn all_done(&self, workers: &Workers) -> Result<(), Trouble> {
        let all = workers.shards();
        self.watched(workers, |inbox| (inbox.done >= all).then(|| inbox.done -= all)).await
    }

    /// Waits until so much time is over, or somebody stops it.
    async fn run_out(&self, workers: &Workers, time: Duration) -> Result<(), Trouble> {
        let end = self.0.borrow().now + time;
        self.watched(workers, |inbox| (inbox.stop || inbox.now >= end).then_some(())).await
    }

    /// Waits as [`until`](Self::until) does, as long as some command is completed now and then.
    async fn watched(&self, workers: &Workers, mut what: impl FnMut(&mut Inbox) -> Option<()>) -> Result<(), Trouble> {
        let (mut seen, mut moved) = (0, self.0.borrow().now);
        let mut silent = |now: Instant| {
            let completed = workers.common().progress.iter().map(|it| it.load(Ordering::Relaxed)).sum::<u64>();
            if std::mem::replace(&mut seen, completed) != completed {
                moved = now;
            }
            now.since(moved) >= PATIENCE
        };
        let at = workers.common().plan.target.at;
        self.until(|inbox| match what(inbox) {
            Some(()) => Some(Ok(())),
            None => silent(inbox.now).then_some(Err(Trouble::Silent { at, patience: PATIENCE })),
        })
        .await?
    }

    /// What each core has counted.
    async fn tallies(&self, workers: &Workers) -> Result<Vec<(u16, Tally)>, Trouble> {
        let tallies = Arc::new(std::sync::Mutex::new(Vec::new()));
        let script = workers.common().script.clone();
        for (shard, core) in workers.cores().enumerate() {
            let (tallies, script) = (tallies.clone(), script.clone());
            workers.send(shard, move |worker, _| {
                tallies.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((core.0, worker.tally()));
                Inbox::tell(&script, |_| ());
            });
        }
        let all = workers.shards();
        let there = || tallies.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.until(|_| (there().len() == all).then_some(())).await?;
        let mut tallies = std::mem::take(&mut *there());
        tallies.sort_by_key(|(core, _)| *core);
        Ok(tallies)
    }

    /// `what`, unless somebody stops it before.
    async fn unless_stopped<T>(&self, what: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
        let mut what = std::pin::pin!(what);
        poll_fn(|context| if self.stopped() { Poll::Ready(Err(Trouble::Interrupted)) } else { what.as_mut().poll(context) }).await
    }
}

/// Processor time of this process' threads so far, nanoseconds; 0 where the system does not tell.
fn cpu_time() -> u64 {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let spent =
        |thread: std::fs::DirEntry| std::fs::read_to_string(thread.path().join("schedstat")).ok()?.split(' ').next()?.parse::<u64>().ok();
    threads.filter_map(spent).sum()
}
