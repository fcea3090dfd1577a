"""Makes logits_processors.json: pip install torch==2.15.0 transformers==5.23.0, then: python make.py > logits_processors.json"""
import json, sys, torch, transformers
from transformers import (RepetitionPenaltyLogitsProcessor as R, TemperatureLogitsWarper as T, TopKLogitsWarper as K,
                          TopPLogitsWarper as P, MinPLogitsWarper as M)
torch.manual_seed(7)
ids = torch.tensor([[3, 5, 5, 17, 30]])
logits = torch.randn(1, 40, dtype=torch.float64) * 3
out = lambda x: [None if v == float("-inf") else round(v, 12) for v in x[0].tolist()]
cases = [dict(repetitionPenalty=1.3, temperature=1), dict(temperature=0.7), dict(temperature=1, topK=5), dict(temperature=1, topP=0.8),
         dict(temperature=1, topP=0.05), dict(temperature=1, minP=0.1), dict(repetitionPenalty=0.8, temperature=1.5, topK=20), dict(repetitionPenalty=1.2, temperature=0.6, topK=12, topP=0.9, minP=0.05)]
res = []
for c in cases:
    x = logits.clone()
    if "repetitionPenalty" in c: x = R(c["repetitionPenalty"])(ids, x)
    x = T(float(c["temperature"]))(ids, x)
    if "topK" in c: x = K(c["topK"])(ids, x)
    if "topP" in c: x = P(c["topP"])(ids, x)
    if "minP" in c: x = M(c["minP"])(ids, x)
    res.append(dict(sampling=c, logits=out(x)))
json.dump(dict(made_with=f"transformers {transformers.__version__}, f64", seen=ids[0].tolist(), logits=[round(v, 12) for v in logits[0].tolist()], cases=res), sys.stdout)
