"""What others' programs make of a mixture's folder: `python harness_peer.py REQUEST.json`, {folder, data, questions,
text, steps, rate, out}. lm-eval answers the questions (JSON lines as ours) and says how likely the text is; TRL's
SFTTrainer takes some steps on the data and saves the model at `out`. Prints what came of it."""
import json
import sys

import torch
from datasets import Dataset
from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask
from lm_eval.models.huggingface import HFLM
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

request = json.load(open(sys.argv[1]))
folder = request["folder"]
# Programs print what they please: the answer goes to the real stdout.
stdout, sys.stdout = sys.stdout, sys.stderr

language_model = HFLM(pretrained=folder, trust_remote_code=True, device="cpu", dtype="float32", batch_size=2)
task = ConfigurableTask(config={
    "task": "questions", "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": request["questions"]}},
    "test_split": "test", "output_type": "multiple_choice", "doc_to_text": "prompt", "doc_to_choice": "choices",
    "doc_to_target": "answer", "target_delimiter": "", "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
})
evaluated = simple_evaluate(model=language_model, tasks=[task], log_samples=True, bootstrap_iters=0)
scores, samples = evaluated["results"]["questions"], evaluated["samples"]["questions"]
rolling = Instance(request_type="loglikelihood_rolling", doc={}, arguments=(request["text"],), idx=0)

tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True, dtype=torch.float32)
trainer = SFTTrainer(
    model=model,
    processing_class=tokenizer,
    train_dataset=Dataset.from_list(request["data"]),
    args=SFTConfig(
        output_dir=request["out"], max_steps=request["steps"], per_device_train_batch_size=len(request["data"]),
        learning_rate=request["rate"], lr_scheduler_type="constant", optim="sgd", weight_decay=0.0, max_grad_norm=0.0,
        bf16=False, use_cpu=True, logging_steps=1, report_to=[], save_strategy="no", completion_only_loss=True,
    ),
)
trainer.train()
trainer.save_model(request["out"])

json.dump({
    "class": type(model).__name__,
    "accuracy": scores["acc,none"],
    "accuracy_by_length": scores["acc_norm,none"],
    "likelihoods": [[score[0] for score in sample["filtered_resps"]] for sample in samples],
    "text": language_model.loglikelihood_rolling([rolling])[0],
    "losses": [line["loss"] for line in trainer.state.log_history if "loss" in line],
}, stdout)
