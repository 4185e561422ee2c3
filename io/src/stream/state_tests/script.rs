//! What is varied: scripts of a peer, protocols, what comes from outside, and mistakes.

/// An enum, and a constant with all that it may be.
macro_rules! listed {
    ($all:ident, $(#[$doc:meta])* enum $name:ident { $($(#[$of:meta])* $one:ident),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(super) enum $name { $($(#[$of])* $one),* }

        pub(super) const $all: &[$name] = &[$($name::$one),*];
    };
}

/// What a peer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Act {
    Send(usize),
    /// Marks the place as urgent.
    Mark,
    End,
    Reset,
    Take(usize),
    /// Does nothing for a second.
    Wait,
}

pub(super) const ACTS: [Act; 8] = [
    Act::Send(1),
    Act::Send(3),
    Act::Mark,
    Act::End,
    Act::Reset,
    Act::Take(1),
    Act::Take(8),
    Act::Wait,
];

listed! {
    OUTSIDE,
    /// What comes from elsewhere, once, at any time.
    enum Outside {
        Nothing,
        Drain,
        Close,
        ShutDown,
        Pause,
        Send,
        Abort,
    }
}

listed! {
    KINDS,
    /// How a protocol behaves.
    enum Kind {
        /// Answers each byte by one, while there is room.
        Echo,
        /// Answers as an echo; when the peer has ended, our side ends, and nothing else.
        Half,
        Sink,
        /// One byte in a call, and then it comes back.
        Lazy,
        /// Takes all, and pauses; it is resumed from elsewhere.
        Pauser,
        /// Messages of three bytes.
        Threes,
        /// Sends five bytes as there is room, and closes.
        Pusher,
        /// Answers what has come, and closes.
        Leaver,
        /// Sends two bytes, and our side ends; then it takes what comes.
        Asks,
        /// Our side ends at once. It takes nothing before the peer's end, and then a byte in a
        /// call; it closes when it has all.
        Late,
        /// Our side ends at once. At the peer's end it pauses, and when it is resumed from
        /// elsewhere it takes a byte in a call; it closes when it has all.
        Holds,
    }
}

listed! {
    WRONG,
    /// One mistake.
    enum Wrong {
        Nothing,
        RoomIsNotTold,
        MarksAreNotSeen,
        TrustsUnixSockets,
        EndsAreNotAnnounced,
        WritableIsNotSeen,
        ResetsAreNotSeen,
        DoesNotLinger,
        DoesNotComeAgain,
        DoesNotComeBack,
        DrainIsNotTold,
        EndIsNotTold,
        TimerIsArmedOnce,
        BytesProlongAMessage,
        CloseDropsTheOutput,
        OurSideStaysOpen,
        FullSocketsAreTried,
        ResumeIsForgotten,
        NewOutputIsNotWritten,
        ShortReadsAreProof,
        ProgressIsForgotten,
        ResumeKeepsTheClocks,
        LingersBehindTheEnd,
        DrainsBeforeItReads,
        FailsBeforeItReads,
        EndIsOverBeforeItIsTold,
        AbortIsNoMoreThanAClose,
    }
}

/// All scripts of at most so many acts that a peer can do: after its end it sends nothing, and
/// after a reset it does nothing.
pub(super) fn scripts(most: usize) -> Vec<Vec<Act>> {
    let mut all = vec![Vec::new()];
    let mut longest: Vec<Vec<Act>> = all.clone();
    for _ in 0..most {
        let longer = longest.iter().flat_map(|script| {
            let has = |act: Act| script.contains(&act);
            let (is_reset, has_ended) = (has(Act::Reset), has(Act::End));
            let follows = move |act: &Act| match act {
                _ if is_reset => false,
                Act::Send(_) | Act::Mark | Act::End => !has_ended,
                _ => true,
            };
            ACTS.into_iter().filter(follows).map(move |act| [&script[..], &[act]].concat())
        });
        longest = longer.collect();
        all.extend(longest.iter().cloned());
    }
    all
}
