//! The workloads on tokio, where a serial unit is an actor: a task that receives callbacks on its
//! state from an unbounded channel.

use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use super::{BURST, CHAINS, GENERATORS, KEYS, Keys, Workload, keyed_rounds, sharing_rounds};
use crate::measure::{Took, time};

/// Starts a runtime with `workers` workers.
///
/// # Panics
///
/// Panics if the runtime cannot be built.
pub fn runtime(workers: usize) -> Runtime {
    let rt = Builder::new_multi_thread().worker_threads(workers).build().expect("a runtime");
    rt.block_on(async {
        let warm: Vec<_> = (0..64).map(|_| tokio::spawn(tokio::task::yield_now())).collect();
        for task in warm {
            task.await.expect("it does not panic");
        }
    });
    rt
}

/// Runs a workload. Returns `None` if the workload would be the same as in `tokio_spawn`.
///
/// # Panics
///
/// Panics if the runtime cannot be built.
pub fn run(workload: Workload, events: u64, workers: usize) -> Option<Took> {
    let rt = runtime(workers);
    // An actor that shares nothing is just a task, as in `tokio_spawn`.
    match workload {
        Workload::Fanout | Workload::Work10us => None,
        Workload::Chains => Some(time(events, || {
            rt.block_on(async {
                let first = tokio::spawn(async move {
                    let all: Vec<_> =
                        (0..CHAINS).map(|_| tokio::spawn(chain(events / CHAINS))).collect();
                    for one in all {
                        done(one).await;
                    }
                });
                done(first).await;
            });
        })),
        Workload::Chain => Some(time(events, || rt.block_on(chain(events)))),
        Workload::Sharing(sharing) => {
            let (rounds, events) = sharing_rounds(sharing, events);
            Some(time(events, || rt.block_on(super::sharing::actors::run(sharing, rounds))))
        }
        Workload::Keyed => {
            let (rounds, events) = keyed_rounds(events);
            Some(time(events, || rt.block_on(keyed(rounds))))
        }
        Workload::FanoutColors => Some(time(events, || rt.block_on(fanout_colors(events)))),
        Workload::Pingpong => Some(time(events, || rt.block_on(pingpong(events)))),
    }
}

/// A message to an actor: a callback on its state, as in a callback-based program.
type Message<S> = Box<dyn FnOnce(&mut S) -> Next + Send>;

/// Whether the actor goes on.
#[derive(PartialEq)]
enum Next {
    Go,
    Stop,
}

/// Starts an actor. `state` creates its state from a sender to the actor itself.
fn actor<S: Send + 'static>(
    state: impl FnOnce(UnboundedSender<Message<S>>) -> S,
) -> (UnboundedSender<Message<S>>, JoinHandle<()>) {
    let (tx, mut rx) = unbounded_channel::<Message<S>>();
    let mut state = state(tx.clone());
    let task = tokio::spawn(async move {
        while let Some(message) = rx.recv().await {
            if message(&mut state) == Next::Stop {
                return;
            }
        }
    });
    (tx, task)
}

async fn done(task: JoinHandle<()>) {
    task.await.expect("an actor does not panic");
}

type Own = Option<UnboundedSender<Message<Link>>>;

/// The state of a chain: a sender to itself.
struct Link(Own);

fn step(link: &mut Link, left: u64) -> Next {
    if left == 0 {
        return Next::Stop;
    }
    let own = link.0.as_ref().expect("a chain knows itself");
    let _ = own.send(Box::new(move |link| step(link, left - 1)));
    Next::Go
}

async fn chain(events: u64) {
    let (tx, task) = actor(|own| Link(Some(own)));
    let _ = tx.send(Box::new(move |link: &mut Link| step(link, events - 1)));
    done(task).await;
}

struct Generator {
    own: UnboundedSender<Message<Generator>>,
    keys: Keys,
    counters: std::sync::Arc<Vec<UnboundedSender<Message<u64>>>>,
}

fn generate(g: &mut Generator, left: usize) -> Next {
    for _ in 0..BURST {
        let _ = g.counters[g.keys.draw()].send(Box::new(|n| {
            *n += 1;
            Next::Go
        }));
    }
    if left == 0 {
        return Next::Stop;
    }
    let _ = g.own.send(Box::new(move |g| generate(g, left - 1)));
    Next::Go
}

async fn keyed(rounds: usize) {
    let mut actors = Vec::new();
    let mut counters = Vec::new();
    for _ in 0..KEYS {
        // A counter does not store its own sender, so it ends when the generators have ended.
        let (tx, task) = actor(|_| 0u64);
        counters.push(tx);
        actors.push(task);
    }
    let counters = std::sync::Arc::new(counters);
    for g in 0..GENERATORS {
        let counters = std::sync::Arc::clone(&counters);
        let (tx, task) = actor(|own| Generator { own, keys: Keys::of(g), counters });
        let _ = tx.send(Box::new(move |g| generate(g, rounds - 1)));
        actors.push(task);
    }
    drop(counters);
    for actor in actors {
        done(actor).await;
    }
}

async fn fanout_colors(events: u64) {
    let gate = std::sync::Arc::new(super::Gate::default());
    let last = std::sync::Arc::new(super::OpensWhenDropped(std::sync::Arc::clone(&gate)));
    done(tokio::spawn(async move {
        for i in 0..events {
            let last = std::sync::Arc::clone(&last);
            let (tx, _) = actor(move |_| last);
            let _ = tx.send(Box::new(move |_| {
                std::hint::black_box(i);
                Next::Go
            }));
        }
    }))
    .await;
    gate.wait();
}

struct Player(Option<UnboundedSender<Message<Player>>>);

fn volley(player: &mut Player, left: u64) -> Next {
    if left == 0 {
        return Next::Stop;
    }
    if let Some(other) = &player.0 {
        let _ = other.send(Box::new(move |player| volley(player, left - 1)));
    }
    if left == 1 { Next::Stop } else { Next::Go }
}

async fn pingpong(events: u64) {
    let (to_a, a) = actor(|_| Player(None));
    let other = to_a.clone();
    let (to_b, b) = actor(|_| Player(Some(other)));
    let _ = to_a.send(Box::new(move |player: &mut Player| {
        player.0 = Some(to_b);
        volley(player, events - 1)
    }));
    drop(to_a);
    done(a).await;
    done(b).await;
}
