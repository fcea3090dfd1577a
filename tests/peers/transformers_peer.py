"""What transformers makes of models' folders: `python transformers_peer.py REQUESTS.json`, a list of {folder, ids, mask,
prompt, count, train}; prints a list of {logits, greedy, loss} (loss: in training, for those asked to train)."""
import json
import sys

import torch
import transformers
from transformers import AutoModelForCausalLM

transformers.logging.set_verbosity_error()
answers = []
for request in json.load(open(sys.argv[1])):
    model = AutoModelForCausalLM.from_pretrained(request["folder"], trust_remote_code=True, dtype=torch.float32).eval()
    ids, mask = torch.tensor(request["ids"]), torch.tensor(request["mask"])
    answer = {"class": type(model).__name__}
    with torch.no_grad():
        answer["logits"] = model(ids, attention_mask=mask).logits.flatten().tolist()
        prompt = torch.tensor([request["prompt"]])
        greedy = model.generate(prompt, max_new_tokens=request["count"], do_sample=False, eos_token_id=None,
                                pad_token_id=0)
        answer["greedy"] = greedy[0, prompt.shape[1]:].tolist()
    if request["train"]:
        model.train()
        loss = model(ids, attention_mask=mask, labels=ids.masked_fill(mask == 0, -100)).loss
        loss.backward()
        answer["loss"] = loss.item()
        model.save_pretrained(request["folder"] + "/again")
    answers.append(answer)
json.dump(answers, sys.stdout)
