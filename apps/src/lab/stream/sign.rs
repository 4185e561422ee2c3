//! The work on a message before it is sent on: nothing, a wait that stands for a signature, or a
//! real signature.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "aws-lc-rs")]
use aws_lc_rs::signature;
use dapple::{Color, Colored, Cx};
use futures_channel::oneshot;
#[cfg(not(feature = "aws-lc-rs"))]
use ring::signature;

use self::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use super::tree::Name;
use super::wire;

/// The work that signs or verifies a message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Work {
    Nothing,
    /// A wait of this length, which takes no core.
    Wait(Duration),
    /// A signature with Ed25519.
    Ed25519,
}

/// A message of a stream, as it is sent.
pub(super) type Letter = Arc<[u8]>;

/// The keys of all nodes.
pub(super) struct Keys(Vec<Ed25519KeyPair>);

impl Keys {
    /// Makes keys, which are the same in each run.
    ///
    /// # Errors
    ///
    /// Returns a message if the library refuses to make a key.
    pub(super) fn new(nodes: Name) -> Result<Keys, String> {
        let key = |node: Name| {
            let mut seed = [7; 32];
            seed[..2].copy_from_slice(&node.to_le_bytes());
            Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|e| format!("a key: {e}"))
        };
        (0..nodes).map(key).collect::<Result<_, _>>().map(Keys)
    }

    fn sign(&self, node: Name, letter: &[u8]) -> Letter {
        let (content, _) = wire::split(letter);
        let signature = self.0[usize::from(node)].sign(content);
        [content, signature.as_ref()].concat().into()
    }

    fn is_genuine(&self, node: Name, letter: &[u8]) -> bool {
        let (content, signature) = wire::split(letter);
        let key = self.0[usize::from(node)].public_key();
        UnparsedPublicKey::new(&ED25519, key).verify(content, signature).is_ok()
    }
}

/// A message, and the work to do on it.
#[derive(Clone)]
pub(super) struct Job {
    pub(super) letter: Letter,
    /// The group of the message, whose number is also that of its sender.
    pub(super) group: Name,
    pub(super) step: Step,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Sign,
    Verify,
}

impl Job {
    /// Does the work at once, and returns `None` for a message that is not genuine. Waiting work
    /// blocks.
    pub(super) fn run(self, work: Work, keys: &Keys) -> Option<Letter> {
        match work {
            Work::Nothing => Some(self.letter),
            Work::Wait(time) => {
                dapple::sync::sleep(time);
                Some(self.letter)
            }
            Work::Ed25519 => match self.step {
                Step::Sign => Some(keys.sign(self.group, &self.letter)),
                Step::Verify => keys.is_genuine(self.group, &self.letter).then_some(self.letter),
            },
        }
    }
}

/// The verifications of one node, of which only a fixed number run at the same time.
#[derive(Clone)]
pub(super) struct Verifier {
    work: Work,
    keys: Arc<Keys>,
    permits: Colored<Permits>,
}

type Begin = Box<dyn FnOnce(&mut Cx) + Send>;

/// The free permits, and the jobs that wait for one.
struct Permits {
    free: usize,
    waiting: VecDeque<Begin>,
}

impl Verifier {
    pub(super) fn new(work: Work, permits: usize, keys: Arc<Keys>, color: &Color) -> Verifier {
        let permits = Colored::new(color, Permits { free: permits, waiting: VecDeque::new() });
        Verifier { work, keys, permits }
    }

    /// Calls `begin` when there is a permit. The callee must release the permit.
    fn acquire(&self, begin: impl FnOnce(&mut Cx) + Send + 'static) {
        self.permits.post(move |permits, cx| match permits.free.checked_sub(1) {
            Some(left) => {
                permits.free = left;
                begin(cx);
            }
            None => permits.waiting.push_back(Box::new(begin)),
        });
    }

    fn release(&self) {
        self.permits.post(|permits, cx| match permits.waiting.pop_front() {
            Some(begin) => begin(cx),
            None => permits.free += 1,
        });
    }

    /// Does a job when there is a permit for it, and then calls `done`.
    pub(super) fn start(
        &self,
        job: Job,
        done: impl FnOnce(Option<Letter>, &mut Cx) + Send + 'static,
    ) {
        let own = self.clone();
        self.acquire(move |cx| match own.work {
            Work::Wait(time) => {
                let color = own.permits.color().clone();
                cx.post_after(time, &color, move |cx| {
                    own.release();
                    done(Some(job.letter), cx);
                });
            }
            work => cx.post_uncolored(move |cx| {
                let letter = job.run(work, &own.keys);
                own.release();
                done(letter, cx);
            }),
        });
    }

    /// Does a job for a task when there is a permit for it.
    pub(super) async fn run(&self, job: Job) -> Option<Letter> {
        let (tx, rx) = oneshot::channel();
        self.acquire(move |_| _ = tx.send(()));
        rx.await.ok()?;
        let letter = match self.work {
            Work::Wait(time) => {
                self.permits.color().runtime().sleep(time).await;
                Some(job.letter)
            }
            work => job.run(work, &self.keys),
        };
        self.release();
        letter
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use dapple::clock;

    use super::super::wire::Message;
    use super::*;

    fn job(group: Name, step: Step, letter: Letter) -> Job {
        Job { letter, group, step }
    }

    #[test]
    fn only_what_was_signed_by_its_owner_is_genuine() {
        let keys = Keys::new(8).unwrap();
        let letter: Letter = Message::Data { group: 3, number: 1 }.to_bytes().into();
        let run = |job: Job| job.run(Work::Ed25519, &keys);
        assert!(run(job(3, Step::Verify, letter.clone())).is_none(), "not signed yet");
        let signed = run(job(3, Step::Sign, letter)).unwrap();
        assert_eq!(run(job(3, Step::Verify, signed.clone())), Some(signed.clone()));
        assert!(run(job(4, Step::Verify, signed.clone())).is_none(), "somebody else's key");
        for at in [0, 20, signed.len() - 1] {
            let mut other = signed.to_vec();
            other[at] ^= 1;
            assert!(run(job(3, Step::Verify, other.into())).is_none(), "byte {at}");
        }
    }

    #[test]
    fn no_more_jobs_at_a_time_than_there_are_permits() {
        const JOBS: usize = 6;
        let wait = Duration::from_millis(20);
        for permits in [1, 3] {
            let rt = dapple::Runtime::new().unwrap();
            let keys = Arc::new(Keys::new(1).unwrap());
            let color = rt.handle().new_color();
            let verifier = Verifier::new(Work::Wait(wait), permits, keys, &color);
            let (began, ends) = (clock::now(), Arc::new(Mutex::new(Vec::new())));
            for _ in 0..JOBS {
                let ends = Arc::clone(&ends);
                let done = move |_, _: &mut Cx| ends.lock().unwrap().push(clock::now() - began);
                verifier.start(job(0, Step::Verify, Arc::new([0; 100])), done);
            }
            rt.wait_idle();
            while ends.lock().unwrap().len() < JOBS {
                std::thread::sleep(Duration::from_millis(1));
            }
            for (nth, end) in ends.lock().unwrap().iter().enumerate() {
                let round = nth / permits + 1;
                assert!(*end >= wait * round as u32, "job {nth} of {permits} permits: {end:?}");
            }
        }
    }
}
