//! Every policy drawn, over two images in one turn and a further turn.
//!
//! `s` is the system's text, `I` and `J` are the images, `q` questions, `A` `<|assistant|>` and `r`
//! the replies.

use sequence::{AttentionPolicy, Layout, Role};

const ROWS: &str = "sIIqJJqArqAr";

fn two_turns() -> Layout {
    Layout::new()
        .text(Role::System, 1)
        .image(2)
        .text(Role::User, 1)
        .image(2)
        .text(Role::User, 1)
        .reply_mark()
        .text(Role::Assistant, 1)
        .text(Role::User, 1)
        .reply_mark()
        .text(Role::Assistant, 1)
}

/// Returns the rows that `policy` gives, each with what it holds.
fn drawing(policy: AttentionPolicy) -> Vec<String> {
    let drawn = policy.plan(&two_turns()).to_string();
    ROWS.chars().zip(drawn.lines()).map(|(kind, row)| format!("{kind} {row}")).collect()
}

#[test]
fn causal_is_a_triangle() {
    let rows = [
        "s #...........",
        "I ##..........",
        "I ###.........",
        "q ####........",
        "J #####.......",
        "J ######......",
        "q #######.....",
        "A ########....",
        "r #########...",
        "q ##########..",
        "A ###########.",
        "r ############",
    ];
    assert_eq!(drawing(AttentionPolicy::Causal), rows);
}

#[test]
fn mutual_opens_the_text_after_each_image_through_the_mark_of_its_turn() {
    let rows = [
        "s #...........",
        "I ##.#..##....",
        "I ####..##....",
        "q ####........",
        "J #####.##....",
        "J ########....",
        "q #######.....",
        "A ########....",
        "r #########...",
        "q ##########..",
        "A ###########.",
        "r ############",
    ];
    assert_eq!(drawing(AttentionPolicy::ModalityMutual), rows);
}

#[test]
fn prefix_opens_the_prompt_of_each_turn() {
    let rows = [
        "s ########....",
        "I ########....",
        "I ########....",
        "q ########....",
        "J ########....",
        "J ########....",
        "q ########....",
        "A ########....",
        "r #########...",
        "q ###########.",
        "A ###########.",
        "r ############",
    ];
    assert_eq!(drawing(AttentionPolicy::Prefix), rows);
}

#[test]
fn image_bidirectional_opens_each_image_to_itself() {
    let rows = [
        "s #...........",
        "I ###.........",
        "I ###.........",
        "q ####........",
        "J ######......",
        "J ######......",
        "q #######.....",
        "A ########....",
        "r #########...",
        "q ##########..",
        "A ###########.",
        "r ############",
    ];
    assert_eq!(drawing(AttentionPolicy::ImageBidirectional), rows);
    // Images so small have one ring, in which all tokens see each other.
    assert_eq!(drawing(AttentionPolicy::ConcentricCausal), rows);
}

#[test]
fn concentric_lets_an_inner_ring_see_the_outer_ones_and_not_the_reverse() {
    let layout = Layout::new().text(Role::System, 1).image(9).image(1).text(Role::User, 1);
    let outer = "#####.####..";
    let inner = "##########..";
    let rows = [
        "#...........",
        outer,
        outer,
        outer,
        outer,
        inner,
        outer,
        outer,
        outer,
        outer,
        "###########.",
        "############",
    ];
    let drawn = AttentionPolicy::ConcentricCausal.plan(&layout).to_string();
    assert_eq!(drawn.lines().collect::<Vec<_>>(), rows);
}
