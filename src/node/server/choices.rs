//! Why a client has its alternate, as long as that is of interest.

use crate::cluster::Choice;
use crate::wire::ClientId;
use std::collections::VecDeque;
use std::sync::Arc;

/// Choices that are remembered, of all clients together: one takes some hundred bytes, which is
/// too much for every client.
const MAX_REMEMBERED: usize = 4096;

/// The newest choices, each with the client for which it was made.
#[derive(Debug, Default)]
pub(super) struct Choices {
    newest: VecDeque<(ClientId, Arc<Choice>)>,
    /// The number that the next one gets. It comes round.
    next: u32,
}

impl Choices {
    /// Remembers a choice; it is found by the number that this gives.
    pub(super) fn remember(&mut self, client: ClientId, choice: Arc<Choice>) -> u32 {
        if self.newest.len() == MAX_REMEMBERED {
            self.newest.pop_front();
        }
        self.newest.push_back((client, choice));
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        number
    }

    /// The choice with this number, if it is still remembered, and was made for this client.
    pub(super) fn find(&self, client: &ClientId, number: u32) -> Option<&Arc<Choice>> {
        let age = self.next.wrapping_sub(number) as usize;
        let place = self.newest.len().checked_sub(age)?;
        let (of, choice) = self.newest.get(place)?;
        (of == client).then_some(choice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_choices_are_found_also_when_numbers_have_come_round() {
        let client = |number: usize| ClientId([(number % 251) as u8; 16]);
        let choice = Arc::new(Choice { weighed: Vec::new() });
        let mut choices = Choices { next: u32::MAX - 99, ..Choices::default() };
        assert!(choices.find(&client(0), 0).is_none());
        let count = MAX_REMEMBERED + 100;
        let remember = |at| choices.remember(client(at), Arc::clone(&choice));
        let numbers: Vec<_> = (0..count).map(remember).collect();
        assert!(numbers[99] == u32::MAX && numbers[100] == 0);
        for (at, number) in numbers.into_iter().enumerate() {
            assert_eq!(choices.find(&client(at), number).is_some(), at >= 100, "{at}");
            assert!(choices.find(&client(at + 1), number).is_none(), "it was made for another");
        }
    }
}
