//! burn's dense training step on a graphics adapter, as the suite's worker protocol has it (`bench/processes.ts`).

mod formula;
mod model;
mod work;

use std::io::{BufRead, stdin};
use std::time::Instant;

use burn::optim::{AdafactorConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, DeviceKind, Int, Tensor, TensorData};

use model::{Llama, Rotations};
use work::{Asked, Ready, Round, Work};

const RATE: f64 = 1e-3;
const WARM_UP: usize = 2;

/// A model in training.
struct Training {
    work: Work,
    device: Device,
    model: Option<Llama>,
    optimizer: ModuleOptimizer,
    tokens: Tensor<2, Int>,
    rotations: Rotations,
}

impl Training {
    fn new(work: Work, plain: &Device) -> Self {
        let device = plain.clone().autodiff();
        let ids = formula::tokens(work.config.vocab_size, work.batch * work.seq);
        Self {
            model: Some(Llama::new(&work.config, &device)),
            // XFT's settings: no relative step, no scaling by the parameters.
            optimizer: AdafactorConfig::new().with_relative_step(false).with_scale_parameter(false).init(),
            tokens: Tensor::from_data(TensorData::new(ids, [work.batch, work.seq]), &device),
            rotations: Rotations::new(&work.config, work.seq, &device),
            device,
            work,
        }
    }

    /// Forward, backward and update, until all of it is done.
    fn step(&mut self) -> f32 {
        let model = self.model.take().expect("a step gives its model back");
        let loss = model.loss(self.tokens.clone(), &self.rotations, &self.work.config);
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        self.model = Some(self.optimizer.step(RATE, model, gradients));
        let loss = loss.into_scalar();
        self.device.sync().expect("the device works");
        loss
    }
}

/// Bytes that this process holds: programs and libraries.
fn held() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok()).map_or(0, |kibibytes| kibibytes * 1024)
}

fn say(answer: &impl serde::Serialize) {
    println!("{}", serde_json::to_string(answer).expect("answers are plain data"));
}

fn main() {
    let mut lines = stdin().lock().lines().map_while(Result::ok);
    let Some(line) = lines.next() else { return };
    let base_bytes = held();
    let work: Work = serde_json::from_str(&line).expect("the suite sends a piece of work");
    assert!(
        !work.config.tied && work.config.heads == work.config.kv_heads,
        "this model has a head of its own, and no groups of heads"
    );
    let device = Device::wgpu(DeviceKind::DefaultDevice);
    let mut training = Training::new(work, &device);
    let losses = (0..WARM_UP).map(|_| training.step()).collect();
    let about = match device.identity() {
        Some(identity) => format!("burn 0.22.1 on {}, {}", identity.name, identity.fingerprint),
        None => "burn 0.22.1".to_owned(),
    };
    say(&Ready { losses, about, base_bytes });
    for line in lines {
        let Asked { seconds } = serde_json::from_str(&line).expect("the suite asks for a round");
        let (began, mut best, mut times) = (Instant::now(), f64::INFINITY, 0);
        while times == 0 || began.elapsed().as_secs_f64() < seconds {
            let from = Instant::now();
            training.step();
            best = best.min(from.elapsed().as_secs_f64());
            times += 1;
        }
        say(&Round { seconds: best, times });
    }
}
