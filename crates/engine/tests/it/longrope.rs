//! The border between the short and the long rotary factors: 48 positions in this model.

use engine::{Batch, BeamOptions, BeamRequest, CancelToken, Request, Session, generate};
use sequence::AttentionPolicy;

use crate::golden::{assert_close, drain, fresh, go_on, longrope, words};

#[test]
fn a_reply_across_the_border_has_the_logits_of_fresh_prefills() {
    let golden = longrope();
    let mut session = Session::new(&golden.aki).unwrap();
    let mut talk = golden.resume(golden.question(40));
    session.prefill(&talk.prompt).unwrap();
    assert_ne!(golden.aki.rope_regime(48), golden.aki.rope_regime(49));
    for id in words(3, 20) {
        let logits = session.decode(id).unwrap();
        talk.reply(&[id]);
        assert_close(&logits, &fresh(golden, &talk.prompt));
    }
    assert_eq!(session.num_cached(), 60);
}

#[test]
fn generating_across_the_border_equals_prefilling_every_step() {
    let golden = longrope();
    let request = Request::new(golden.question(38), 24);
    let reply = generate(&golden.aki, &request, go_on).unwrap();
    let mut talk = golden.resume(request.prompt.clone());
    for id in &reply.new_ids {
        let logits = fresh(golden, &talk.prompt);
        let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
        assert_eq!(best as u32, id.0);
        talk.reply(&[*id]);
    }
    let mut batch = Batch::new(&golden.aki, 2);
    batch.add(golden.request(0)).unwrap();
    batch.add(request).unwrap();
    let replies = drain(&mut batch);
    assert_eq!(replies[0].1.new_ids, golden.samples[0].new_ids);
    assert_eq!(replies[1].1.new_ids, reply.new_ids);
}

#[test]
fn a_prompt_on_the_other_side_of_the_border_reuses_nothing() {
    let golden = longrope();
    let mut session = Session::new(&golden.aki).unwrap();
    for (len, expected) in [(40, 0), (60, 0), (70, 59), (45, 0), (48, 44), (49, 0)] {
        let prefilled = session.prefill(&golden.question(len)).unwrap();
        assert_close(&prefilled.logits, &fresh(golden, &golden.question(len)));
        assert_eq!(prefilled.cached_tokens, expected, "length {len}");
    }
}

#[test]
fn the_border_is_one_of_position_ids_not_of_tokens() {
    // Under the concentric policy an image of eight tokens, a grid of two rows, takes one position.
    let golden = longrope();
    let mut talk = golden.talk(AttentionPolicy::ConcentricCausal);
    talk.user(&words(2, 30));
    talk.image(&golden.features[0]);
    talk.user(&words(4, 12));
    talk.mark();
    assert_eq!(talk.prompt.layout.len(), 51);
    let mut session = Session::new(&golden.aki).unwrap();
    session.prefill(&talk.prompt).unwrap();
    for id in words(3, 8) {
        let logits = session.decode(id).unwrap();
        talk.reply(&[id]);
        assert_close(&logits, &fresh(golden, &talk.prompt));
    }
}

#[test]
fn beams_cross_the_border_together() {
    let golden = longrope();
    let request = BeamRequest {
        prompt: golden.question(42),
        options: BeamOptions { width: 1, ..BeamOptions::default() },
        stop: golden.stop.clone(),
        max_new_tokens: 16,
        cancel: CancelToken::new(),
    };
    let mut session = Session::new(&golden.aki).unwrap();
    let found = session.beam_search(&request).unwrap().hypotheses;
    let greedy = Request { stop: golden.stop.clone(), ..Request::new(golden.question(42), 16) };
    assert_eq!(found[0].new_ids, generate(&golden.aki, &greedy, go_on).unwrap().new_ids);
}
