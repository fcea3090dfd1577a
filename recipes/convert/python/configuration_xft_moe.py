"""Settings of XFT's mixtures of experts for transformers."""

from transformers.models.llama.configuration_llama import LlamaConfig


class XftMoeConfig(LlamaConfig):
    """A Llama's settings, and those of the mixtures in place of its feed-forward networks.

    num_experts: experts of a layer, the shared one included.
    num_selects: experts that a token uses, the shared one included.
    router: "linear", one matrix; "mlp", Linear -> tanh -> Linear; neither has biases.
    normalised_gates: gates sum to 1 (False: the paper's ablation).
    router_noise: the router has weights for noise in training, of at least router_noise_epsilon.
    balance_loss_weight: of the loss that keeps every expert in use, in training.
    qkv_bias: queries, keys and values have biases (attention_bias: the output's projection, too).
    """

    model_type = "xft_moe"

    def __init__(
        self,
        num_experts: int = 8,
        num_selects: int = 6,
        router: str = "linear",
        normalised_gates: bool = True,
        router_noise: bool = False,
        router_noise_epsilon: float = 0.01,
        balance_loss_weight: float = 0.01,
        qkv_bias: bool = False,
        **llama,
    ):
        self.num_experts = num_experts
        self.num_selects = num_selects
        self.router = router
        self.normalised_gates = normalised_gates
        self.router_noise = router_noise
        self.router_noise_epsilon = router_noise_epsilon
        self.balance_loss_weight = balance_loss_weight
        self.qkv_bias = qkv_bias
        super().__init__(**llama)
