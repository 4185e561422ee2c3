//! What varies: scripts of a peer, protocols, acts from outside, and mistakes.

/// Defines an enum, and a constant that lists its variants.
macro_rules! listed {
    ($all:ident, $(#[$doc:meta])* enum $name:ident { $($(#[$of:meta])* $one:ident),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(super) enum $name { $($(#[$of])* $one),* }

        pub(super) const $all: &[$name] = &[$($name::$one),*];
    };
}

/// An act of the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Act {
    Send(usize),
    /// Marks the current position as urgent.
    Mark,
    End,
    Reset,
    Take(usize),
    /// Does nothing for 1 s.
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
    /// An act from outside the protocol, once, at any time.
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
    /// The behaviour of a protocol.
    enum Kind {
        /// Answers each byte by one, while there is room.
        Echo,
        /// Answers as an echo. When the peer has ended, it ends our side, and nothing else.
        Half,
        Sink,
        /// Takes one byte in a call, and asks to be called again.
        Lazy,
        /// Takes all input, and pauses until it is resumed from outside.
        Pauser,
        /// Takes messages of three bytes.
        Threes,
        /// Sends five bytes while there is room, and closes.
        Pusher,
        /// Answers the first input, and closes.
        Leaver,
        /// Sends two bytes, ends our side, and then takes what arrives.
        Asks,
        /// Ends our side at once. Takes nothing before the peer's end, then one byte in a call, and
        /// closes when it has all.
        Late,
        /// Ends our side at once. Pauses at the peer's end. When it is resumed from outside, it
        /// takes one byte in a call, and closes when it has all.
        Holds,
    }
}

listed! {
    WRONG,
    /// A mistake that the search has to find.
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

/// Returns all scripts of at most `most` acts that a peer can do. After its end a peer sends
/// nothing, and after a reset it does nothing.
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
