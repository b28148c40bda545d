use engine::{
    Batch, BeamOptions, BeamRequest, CancelToken, Error, Request, Sampling, SamplingOptions,
    Session, generate,
};
use sequence::{AttentionPolicy, Layout, TokenId};

use crate::golden::{base, go_on, longrope};

#[test]
fn sampling_options_outside_their_limits_name_the_field_the_value_and_the_limits() {
    let neutral = SamplingOptions::default();
    let cases = [
        (
            SamplingOptions { temperature: -0.1, ..neutral },
            "`temperature` is -0.1, expected a number from 0 to 100",
        ),
        (
            SamplingOptions { temperature: f32::NAN, ..neutral },
            "`temperature` is NaN, expected a number from 0 to 100",
        ),
        (
            SamplingOptions { top_p: 0.0, ..neutral },
            "`top_p` is 0, expected a number above 0 and at most 1",
        ),
        (
            SamplingOptions { top_p: 1.2, ..neutral },
            "`top_p` is 1.2, expected a number above 0 and at most 1",
        ),
        (SamplingOptions { min_p: 2.0, ..neutral }, "`min_p` is 2, expected a number from 0 to 1"),
        (
            SamplingOptions { repetition_penalty: 0.0, ..neutral },
            "`repetition_penalty` is 0, expected a number above 0 and at most 100",
        ),
        (
            SamplingOptions { repetition_penalty: f32::INFINITY, ..neutral },
            "`repetition_penalty` is inf, expected a number above 0 and at most 100",
        ),
    ];
    for (options, expected) in cases {
        assert_eq!(Sampling::try_from(options).unwrap_err().to_string(), expected);
    }
    assert!(Sampling::try_from(neutral).unwrap().is_greedy());
}

#[test]
fn beam_options_outside_their_limits_name_the_field_the_value_and_the_limits() {
    let golden = base();
    let message = |options| {
        let prompt = golden.prompt(0, AttentionPolicy::ModalityMutual);
        let (stop, cancel) = (Vec::new(), CancelToken::new());
        let request = BeamRequest { prompt, options, stop, max_new_tokens: 4, cancel };
        Session::new(&golden.aki).unwrap().beam_search(&request).unwrap_err().to_string()
    };
    let options = BeamOptions::default();
    let expected = "`width` is 0, expected a number from 1 to 64";
    assert_eq!(message(BeamOptions { width: 0, ..options }), expected);
    let expected = "`length_penalty` is NaN, expected a number from -10 to 10";
    assert_eq!(message(BeamOptions { length_penalty: f32::NAN, ..options }), expected);
}

/// Returns what every way to ask says about a request.
fn messages(request: &Request) -> Vec<String> {
    let aki = &base().aki;
    let beams = BeamRequest {
        prompt: request.prompt.clone(),
        options: BeamOptions::default(),
        stop: Vec::new(),
        max_new_tokens: 4,
        cancel: CancelToken::new(),
    };
    let errors: [Error; 4] = [
        generate(aki, request, go_on).unwrap_err(),
        Session::new(aki).unwrap().prefill(&request.prompt).unwrap_err(),
        Session::new(aki).unwrap().beam_search(&beams).unwrap_err(),
        Batch::new(aki, 2).add(request.clone()).unwrap_err(),
    ];
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn prompts_that_do_not_fit_together_are_refused_by_every_way_to_ask() {
    let golden = base();
    let good = golden.request(0);
    let mut request = good.clone();
    request.prompt.ids.clear();
    request.prompt.layout = Layout::new();
    assert_eq!(messages(&request), ["the prompt is empty, expected at least one token"; 4]);

    let mut request = good.clone();
    request.prompt.ids.pop();
    let expected = "the layout has 63 tokens, an image counted once, but there are 62 ids";
    assert_eq!(messages(&request), [expected; 4]);

    let mut request = good.clone();
    request.prompt.features.clear();
    assert_eq!(messages(&request), ["the layout has 1 images, but there are features of 0"; 4]);

    let tokens = golden.aki.max_positions() + 1;
    let request = Request::new(golden.question(tokens), 1);
    let limit = tokens - 1;
    let expected =
        format!("the prompt has {tokens} tokens, expected at most {limit}, the model's context");
    assert_eq!(messages(&request), vec![expected; 4]);
}

#[test]
fn a_session_is_usable_after_a_failed_step() {
    let golden = base();
    let mut session = Session::new(&golden.aki).unwrap();
    let mut bad = golden.request(0);
    bad.prompt.ids[50] = TokenId(u32::MAX);
    for index in [0, 1] {
        let error = session.generate(&bad, go_on).unwrap_err();
        assert_eq!(error.to_string(), "the model cannot compute this step");
        assert!(std::error::Error::source(&error).is_some());
        let reply = session.generate(&golden.request(index), go_on).unwrap();
        assert_eq!(reply.new_ids, golden.samples[index].new_ids);
    }
}

#[test]
fn a_token_before_a_prompt_is_an_error() {
    let mut session = Session::new(&base().aki).unwrap();
    let error = session.decode(TokenId(5)).unwrap_err().to_string();
    let expected = "nothing has been prefilled, expected a prompt before the first decoded token";
    assert_eq!(error, expected);
}

#[test]
fn a_token_after_the_context_is_an_error() {
    let golden = longrope();
    let limit = golden.aki.max_positions();
    let mut session = Session::new(&golden.aki).unwrap();
    session.prefill(&golden.question(limit)).unwrap();
    let error = session.decode(TokenId(5)).unwrap_err().to_string();
    assert_eq!(
        error,
        format!("the sequence has {limit} tokens, the model's context, and cannot grow")
    );
}
