//! A session of the relay in the world: its driver, what it provides, and its deadlines.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use authrelay::fault::Fault;
use authrelay::relay::{Backend, Driver, End, Event, Machine, MessageReport, Permit, Tracker};
use bytes::Bytes;
use tokio::time::Instant;

use crate::random::Random;
use crate::wire::Wired;

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
    pub recorded: Recorded,
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
        throttle.held += 1;
        (self.asked, self.holds) = (false, true);
        self.recorded.granted += 1;
        Poll::Ready(Permit::Granted)
    }

    fn release_permit(&mut self) {
        self.asked = false;
        if std::mem::take(&mut self.holds)
            && let Some(throttle) = &self.throttle
        {
            throttle.borrow_mut().held -= 1;
        }
    }

    fn back_off(&mut self, _time: Duration) {}

    fn open_upstream(&mut self, _mailbox: &str) {
        panic!("no session of this world opens an upstream");
    }

    fn poll_upstream(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(Wired, Bytes), Box<Fault>>> {
        Poll::Pending
    }

    fn record(&mut self, event: Event) {
        assert!(self.recorded.end.is_none(), "{event:?} after the end");
        match event {
            Event::Message(message) => self.recorded.messages.push(message),
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
    pub upstream: Wired,
    /// By when it has to be over, whatever happens.
    pub deadline: Option<Instant>,
    pub over: bool,
}

impl Session {
    pub fn new(
        tracker: Tracker,
        throttle: Option<Rc<RefCell<Throttle>>>,
        random: &mut Random,
        now: Instant,
    ) -> Self {
        let client = Wired::new(Random::new(random.next()));
        let upstream = Wired::new(Random::new(random.next()));
        let provided = Provided {
            throttle,
            random: Random::new(random.next()),
            asked: false,
            holds: false,
            recorded: Recorded::default(),
        };
        let machine = Machine::new(tracker, IDLE, now);
        let (near, far) = (client.clone(), Some(upstream.clone()));
        Self {
            driver: Driver::new(machine, near, far, provided, now),
            client,
            upstream,
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
