//! A session of the relay in the world: its driver, what it provides, and its deadlines.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use authrelay::fault::{Fault, Kind};
use authrelay::relay::{
    Backend, Driver, End, Event, Machine, MessageOutcome, MessageReport, Permit, Tracker,
};
use bytes::Bytes;
use tokio::time::Instant;

use super::random::Random;
use super::wire::Wired;

pub const IDLE: Duration = Duration::from_secs(1800);

/// The permits of one mailbox.
#[derive(Debug)]
pub struct Throttle {
    pub limit: usize,
    pub held: usize,
}

/// What a session recorded.
#[derive(Debug, Default)]
pub struct Recorded {
    pub messages: Vec<MessageReport>,
    pub faults: Vec<Fault>,
    pub end: Option<End>,
    /// Permits that were granted.
    pub granted: usize,
}

pub struct Provided {
    throttle: Option<Rc<RefCell<Throttle>>>,
    random: Random,
    asked: bool,
    holds: bool,
    /// The mailbox of the upstream that was asked for.
    opening: Option<String>,
    opened: Opened,
    pub recorded: Recorded,
}

/// The upstreams of a session so far, with the mailbox of each where it was opened for one.
pub type Opened = Rc<RefCell<Vec<(Option<String>, Wired)>>>;

/// A mistake that the product does not make, to see that the world would notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mistake {
    /// A permit is given back as soon as it is there.
    PermitReleasedEarly,
    /// A permit is not given back.
    PermitKept,
    /// A message is not recorded.
    MessageForgotten,
    /// A transaction's recipients are lost, as by a reset at its sending.
    RecipientsForgotten,
    /// A message that was accepted is recorded as lost.
    OutcomeForgotten,
    /// A reply is not given to the client.
    ReplyForgotten,
    /// Another sender's upstream is taken for the one that was asked for.
    WrongUpstream,
}

thread_local! {
    /// What is planted on this thread.
    pub static PLANTED: Cell<Option<Mistake>> = const { Cell::new(None) };
}

pub fn has(mistake: Mistake) -> bool {
    PLANTED.get() == Some(mistake)
}

impl Backend<Wired> for Provided {
    fn request_permit(&mut self, _sender: &str) {
        assert!(!self.asked && !self.holds, "a second permit");
        self.asked = true;
    }

    fn poll_permit(&mut self, _cx: &mut Context<'_>) -> Poll<Permit> {
        let Some(throttle) = &self.throttle else {
            return Poll::Pending;
        };
        let mut throttle = throttle.borrow_mut();
        if !self.asked {
            return Poll::Pending;
        }
        if self.random.once_in(20) {
            self.asked = false;
            return Poll::Ready(self.random.one_of(&[Permit::Full, Permit::TooMany]));
        }
        if throttle.held >= throttle.limit {
            return Poll::Pending;
        }
        throttle.held += usize::from(!has(Mistake::PermitReleasedEarly));
        (self.asked, self.holds) = (false, true);
        self.recorded.granted += 1;
        Poll::Ready(Permit::Granted)
    }

    fn release_permit(&mut self) {
        self.asked = false;
        if std::mem::take(&mut self.holds)
            && !has(Mistake::PermitReleasedEarly)
            && !has(Mistake::PermitKept)
            && let Some(throttle) = &self.throttle
        {
            throttle.borrow_mut().held -= 1;
        }
    }

    fn back_off(&mut self, _time: Duration) {}

    fn open_upstream(&mut self, mailbox: &str) {
        assert!(self.opening.is_none(), "a second upstream");
        self.opening = Some(mailbox.to_owned());
    }

    fn poll_upstream(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(Wired, Bytes), Box<Fault>>> {
        if self.random.once_in(2) {
            return Poll::Pending;
        }
        let Some(mut mailbox) = self.opening.take() else {
            return Poll::Pending;
        };
        if self.random.once_in(8) {
            let fault = Fault::new(Kind::Unreachable, "no connection");
            return Poll::Ready(Err(Box::new(fault)));
        }
        if has(Mistake::WrongUpstream) {
            mailbox = "somebody@else.test".into();
        }
        let upstream = Wired::new(Random::new(self.random.next()));
        let mut opened = self.opened.borrow_mut();
        opened.push((Some(mailbox), upstream.clone()));
        Poll::Ready(Ok((upstream, Bytes::new())))
    }

    fn record(&mut self, event: Event) {
        assert!(self.recorded.end.is_none(), "{event:?} after the end");
        match event {
            Event::Message(mut message) => {
                if has(Mistake::RecipientsForgotten) {
                    message.to.clear();
                }
                if has(Mistake::OutcomeForgotten) {
                    message.outcome = MessageOutcome::Lost;
                }
                if !has(Mistake::MessageForgotten) {
                    self.recorded.messages.push(message);
                }
            }
            Event::Fault(fault) => self.recorded.faults.push(fault),
        }
    }

    fn on_end(&mut self, end: &End) {
        assert!(self.recorded.end.is_none(), "two ends");
        self.recorded.end = Some(end.clone());
    }

    fn count(&mut self, _client: usize, _upstream: usize) {}
}

pub struct Session {
    driver: Driver<Wired, Provided>,
    pub client: Wired,
    /// The first, or one that is not connected.
    pub upstream: Wired,
    pub opened: Opened,
    /// By when it has to be over, whatever happens.
    pub deadline: Option<Instant>,
    pub over: bool,
}

impl Session {
    pub fn new(
        tracker: Tracker,
        throttle: Option<Rc<RefCell<Throttle>>>,
        by_sender: bool,
        random: &mut Random,
        now: Instant,
    ) -> Self {
        let client = Wired::new(Random::new(random.next()));
        client.0.borrow_mut().forgetful = has(Mistake::ReplyForgotten);
        let upstream = Wired::new(Random::new(random.next()));
        let opened = match by_sender {
            true => Opened::default(),
            false => Rc::new(RefCell::new(vec![(None, upstream.clone())])),
        };
        let provided = Provided {
            throttle,
            random: Random::new(random.next()),
            asked: false,
            holds: false,
            opening: None,
            opened: opened.clone(),
            recorded: Recorded::default(),
        };
        let machine = Machine::new(tracker, IDLE, now);
        let (near, far) = (client.clone(), (!by_sender).then(|| upstream.clone()));
        Self {
            driver: Driver::new(machine, near, far, provided, now),
            client,
            upstream,
            opened,
            deadline: None,
            over: false,
        }
    }

    pub fn recorded(&mut self) -> &mut Recorded {
        &mut self.driver.backend().recorded
    }

    /// Runs as far as it can.
    pub fn run(&mut self, now: Instant) {
        let mut cx = Context::from_waker(Waker::noop());
        // What one poll leaves for the next turn comes soon.
        for _ in 0..3 {
            if self.over {
                return;
            }
            self.over = self.driver.poll(now, &mut cx).is_ready();
        }
        let late = self.deadline.is_some_and(|deadline| deadline < now);
        assert!(self.over || !late, "not over by its deadline");
    }

    /// The next time at which it wants to run.
    pub fn until(&self) -> Instant {
        self.driver.until()
    }

    pub fn drain(&mut self, within: Duration, now: Instant) {
        let mut cx = Context::from_waker(Waker::noop());
        self.driver.drain(within, now, &mut cx);
        self.must_end_by(now + within);
    }

    pub fn stop(&mut self, now: Instant) {
        let mut cx = Context::from_waker(Waker::noop());
        self.driver.stop(now, &mut cx);
        self.must_end_by(now + Duration::from_millis(500));
    }

    fn must_end_by(&mut self, by: Instant) {
        self.deadline = Some(self.deadline.map_or(by, |before| before.min(by)));
    }
}
