//! What Sidekiq's threads ask for when they have nothing to do, and what they get.

use std::sync::Arc;

use crate::Bytes;
use crate::registry::Token;
use crate::waiter::Waiter;
use crate::watch::Idle;

/// The queues of a process, or of one of its capsules, in Sidekiq's own order.
#[derive(Debug)]
pub struct Queues {
    /// Each queue once, in the order given.
    pub names: Vec<Bytes>,
    /// Positions in `names`, repeated by weight.
    weights: Vec<usize>,
    strict: bool,
    /// Whether they are known to be empty.
    pub idle: Idle,
}

impl Queues {
    /// `queues` as Sidekiq has them: a weight is a repetition.
    pub fn new(queues: Vec<Bytes>, strict: bool) -> Self {
        let mut names: Vec<Bytes> = Vec::new();
        let weights = queues
            .into_iter()
            .map(|queue| {
                names.iter().position(|name| *name == queue).unwrap_or_else(|| {
                    names.push(queue);
                    names.len() - 1
                })
            })
            .collect();
        Self { names, weights, strict, idle: Idle::default() }
    }

    /// The order in which one fetch looks at the queues: as given where it is strict, else drawn as Sidekiq's
    /// own fetcher draws it (shuffle with repetitions, keep the first of each).
    pub fn order(&self) -> Vec<usize> {
        if self.strict {
            return (0..self.names.len()).collect();
        }
        let mut drawn = self.weights.clone();
        fastrand::shuffle(&mut drawn);
        let mut order = Vec::with_capacity(self.names.len());
        for position in drawn {
            if !order.contains(&position) {
                order.push(position);
            }
        }
        order
    }
}

/// A job that left its queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Name of the queue.
    pub queue: Bytes,
    /// The payload as it was in the queue.
    pub payload: Arc<[u8]>,
    /// The attempt, where the job is in flight: assured, and recorded when it was popped.
    pub attempt: Option<Token>,
}

/// A thread that waits for a job.
#[derive(Clone, Debug)]
pub struct Request {
    /// Where it looks.
    pub queues: Arc<Queues>,
    /// Where it waits.
    pub waiter: Arc<Waiter<Job>>,
}

/// Somebody who looks for jobs that are due.
#[derive(Clone, Debug)]
pub struct DueRequest {
    /// Sidekiq's sorted set, `retry` or `schedule`.
    pub set: Bytes,
    /// Where the answer is waited for: no job, if none is due.
    pub waiter: Arc<Waiter<Option<Job>>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queues(text: &str, strict: bool) -> Queues {
        Queues::new(text.split(' ').map(|name| name.as_bytes().to_vec()).collect(), strict)
    }

    #[test]
    fn strict_order_is_as_given() {
        assert_eq!(queues("b a c", true).order(), [0, 1, 2]);
    }

    #[test]
    fn weighted_order_names_each_queue_once() {
        let queues = queues("a a a b b c", false);
        assert_eq!(queues.names.len(), 3);
        let mut order = queues.order();
        order.sort_unstable();
        assert_eq!(order, [0, 1, 2]);
    }

    #[test]
    fn weights_decide_how_often_a_queue_comes_first() {
        let queues = queues("a a a b b c", false);
        let mut first = [0_i32; 3];
        (0..60_000).for_each(|_| first[queues.order()[0]] += 1);
        for (queue, share) in [30_000, 20_000, 10_000].into_iter().enumerate() {
            assert!((first[queue] - share).abs() < 1_200, "{first:?}");
        }
    }
}
