//! What the tokens of a reply are held to.

use std::fmt::Debug;

use sequence::TokenId;

/// What the tokens of a reply are held to, such as a grammar: it is asked before each token, and
/// told which was chosen.
///
/// The reasons of failures are for people: what about the rule cannot be followed.
pub trait Constraint: Debug + Send {
    /// Sets the logits of tokens that cannot come next to minus infinity.
    ///
    /// # Errors
    /// If that cannot be found out.
    fn rule_out(&mut self, logits: &mut [f32]) -> Result<(), String>;

    /// Takes the token that was chosen; returns whether nothing can follow it.
    ///
    /// # Errors
    /// If the token was ruled out.
    fn accept(&mut self, id: TokenId) -> Result<bool, String>;

    /// Returns a constraint in the same state, for another reply.
    fn boxed_clone(&self) -> Box<dyn Constraint>;
}

impl Clone for Box<dyn Constraint> {
    fn clone(&self) -> Self {
        self.boxed_clone()
    }
}
