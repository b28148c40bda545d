use checkpoint::Checkpoint;
use model::{Aki, AkiConfig, Device, LoadOptions, NoTap, Sequence, Tap, Tensor};
use sequence::{AttentionPolicy, Layout, Role, TokenId};
use std::collections::BTreeMap;
use std::path::PathBuf;

fn dir(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../goldens")).join(name)
}
#[derive(Default)]
struct Trace(BTreeMap<String, Tensor>);
impl Tap for Trace {
    fn tensor(&mut self, name: &str, value: &Tensor) {
        self.0.insert(name.to_owned(), value.clone());
    }
}
fn f32s(c: &Checkpoint, n: &str) -> Vec<f32> {
    c.tensor(n).unwrap().bytes.as_f32().unwrap().to_vec()
}
fn i64s(c: &Checkpoint, n: &str) -> Vec<i64> {
    c.tensor(n)
        .unwrap()
        .bytes
        .chunks_exact(8)
        .map(|b| i64::from_le_bytes(b.try_into().unwrap()))
        .collect()
}
fn close(name: &str, found: &Tensor, expected: &[f32]) {
    let found: Vec<f32> = found.flatten_all().unwrap().to_vec1().unwrap();
    assert_eq!(found.len(), expected.len(), "{name}");
    let max = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
    let err = found.iter().zip(expected).fold(0f32, |m, (a, b)| m.max((a - b).abs())) / max;
    eprintln!("{name} {err:e}");
    assert!(err < 1e-5, "{name} {err}");
}

#[test]
fn traces() {
    for set in ["base", "gqa", "longrope"] {
        let d = dir(set);
        let config =
            AkiConfig::from_json(&std::fs::read_to_string(d.join("model/config.json")).unwrap())
                .unwrap();
        let aki =
            Aki::load(config, &Checkpoint::open(d.join("model")).unwrap(), LoadOptions::default())
                .unwrap();
        let g = Checkpoint::open(d.join("trace.safetensors")).unwrap();
        let ids = i64s(&g, "input_ids");
        let image = ids.iter().position(|id| *id == 501).unwrap();
        let mark = ids.len() - 1;
        assert_eq!(ids[mark], 490);
        let layout = Layout::new()
            .text(Role::System, image)
            .image(8)
            .text(Role::User, mark - image - 1)
            .reply_mark();
        let ids: Vec<TokenId> = ids.iter().map(|id| TokenId(*id as u32)).collect();
        let px = Tensor::from_vec(f32s(&g, "pixel_values"), (1, 3, 56, 56), &Device::Cpu).unwrap();
        for (policy, prefix) in
            [(AttentionPolicy::ModalityMutual, "mutual."), (AttentionPolicy::Causal, "causal.")]
        {
            let mut tap = Trace::default();
            let features = aki.see(&px, &mut tap).unwrap().get(0).unwrap();
            let e = aki.embed(&ids, &layout, &[features]).unwrap();
            tap.tensor("text.embeddings", &e);
            let plan = policy.plan(&layout);
            let h =
                aki.forward(&e, &mut [Sequence { plan: &plan, cache: None }], &mut tap).unwrap();
            tap.tensor("logits", &aki.logits(&h).unwrap());
            for (name, t) in &tap.0 {
                let golden =
                    if g.tensor(name).is_some() { name.clone() } else { format!("{prefix}{name}") };
                close(&format!("{set} {golden}"), t, &f32s(&g, &golden));
            }
            let _ = NoTap;
        }
    }
}
