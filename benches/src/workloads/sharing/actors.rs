//! The sharing workloads by actors on tokio. A transfer needs two accounts and an audit needs all
//! accounts at one moment, so one actor owns the bank. A fork is an actor that grants itself to one
//! philosopher at a time.

use std::collections::VecDeque;

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{ACCOUNTS, Deal, Deals, Dictionary, SEATS, Sharing};
use super::{change, check_audit, dictionary, look_up};
use crate::openloop::service::spin;
use crate::workloads::{BURST, GENERATORS};

/// Runs a workload for `rounds` rounds, or meals per seat.
pub(in crate::workloads) async fn run(sharing: Sharing, rounds: usize) {
    match sharing {
        Sharing::Bank(bank) => {
            let steps = bank.steps();
            let deals = move |g| Deals::of_bank(g, bank);
            let (accounts, ends) = owner(vec![0i64; ACCOUNTS]);
            generators(rounds, deals, accounts, ends, move |deals| match deals.deal() {
                Deal::Transfer(from, to) => Box::new(move |accounts: &mut Vec<i64>| {
                    accounts[from] -= 1;
                    accounts[to] += 1;
                    spin(steps);
                }),
                Deal::Audit => Box::new(|accounts| check_audit(accounts.iter().sum())),
            })
            .await;
        }
        Sharing::Dictionary => {
            let (words, ends) = owner(dictionary());
            generators(rounds, Deals::of, words, ends, |deals| match deals.word() {
                (first, true) => Box::new(move |words: &mut Dictionary| change(words, first)),
                (first, false) => Box::new(move |words| look_up(words, first)),
            })
            .await;
        }
        Sharing::Philosophers => philosophers(rounds).await,
    }
}

type Message<S> = Box<dyn FnOnce(&mut S) + Send>;

/// Starts an actor that owns a state. The actor ends when all senders are dropped.
fn owner<S: Send + 'static>(mut state: S) -> (UnboundedSender<Message<S>>, JoinHandle<()>) {
    let (tx, mut rx) = unbounded_channel::<Message<S>>();
    let ends = tokio::spawn(async move {
        while let Some(message) = rx.recv().await {
            message(&mut state);
        }
    });
    (tx, ends)
}

async fn generators<S: Send + 'static>(
    rounds: usize,
    deals: impl Fn(usize) -> Deals,
    to: UnboundedSender<Message<S>>,
    ends: JoinHandle<()>,
    next: impl Fn(&mut Deals) -> Message<S> + Copy + Send + 'static,
) {
    for g in 0..GENERATORS {
        let (to, mut deals) = (to.clone(), deals(g));
        tokio::spawn(async move {
            for _ in 0..rounds {
                for _ in 0..BURST {
                    let _ = to.send(next(&mut deals));
                }
                tokio::task::yield_now().await;
            }
        });
    }
    drop(to);
    ends.await.expect("an actor does not panic");
}

/// A message to a fork.
enum Fork {
    Take(oneshot::Sender<()>),
    Put,
}

fn fork() -> UnboundedSender<Fork> {
    let (tx, mut rx) = unbounded_channel::<Fork>();
    tokio::spawn(async move {
        let (mut taken, mut waiting) = (false, VecDeque::new());
        let mut meals = 0u64;
        while let Some(message) = rx.recv().await {
            match message {
                Fork::Take(grant) => waiting.push_back(grant),
                Fork::Put => {
                    taken = false;
                    meals += 1;
                }
            }
            if !taken && let Some(grant) = waiting.pop_front() {
                taken = true;
                let _ = grant.send(());
            }
        }
        std::hint::black_box(meals);
    });
    tx
}

async fn philosophers(meals: usize) {
    let forks: Vec<_> = (0..SEATS).map(|_| fork()).collect();
    let all: Vec<_> = (0..SEATS)
        .map(|seat| {
            let (a, b) = (seat, (seat + 1) % SEATS);
            let (low, high) = (forks[a.min(b)].clone(), forks[a.max(b)].clone());
            tokio::spawn(async move {
                for _ in 0..meals {
                    for fork in [&low, &high] {
                        let (grant, granted) = oneshot::channel();
                        let _ = fork.send(Fork::Take(grant));
                        granted.await.expect("a fork is granted in the end");
                    }
                    let _ = low.send(Fork::Put);
                    let _ = high.send(Fork::Put);
                }
            })
        })
        .collect();
    for one in all {
        one.await.expect("a philosopher does not panic");
    }
}
