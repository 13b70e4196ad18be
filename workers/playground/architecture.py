"""The untrained solver of the playground: tokenizer, chat template and a small Llama."""

from typing import cast

from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from workers.playground.world import ARITY, LETTERS, NOTHING

MAX_TOKENS = 256
# The longest response: six steps of up to three words, two marks and twenty letters.
MAX_NEW_TOKENS = 160
PAD, BOS, EOS, UNKNOWN = "<pad>", "<bos>", "<eos>", "<unk>"
USER, ASSISTANT = "<user>", "<assistant>"

# The template writes the only <bos>: the tokenizer adds none.
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}<user> {{ message['content'] }} "
    "{% elif message['role'] == 'assistant' %}<assistant> {{ message['content'] }} {{ eos_token }}"
    "{% else %}{{ raise_exception('the playground knows the roles user and assistant only') }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)


def vocabulary() -> dict[str, int]:
    """Returns token -> id: marks first, then the prompt's words, the operations, the letters."""
    marks = (PAD, BOS, EOS, UNKNOWN, USER, ASSISTANT)
    words = ("Take", "then", ":", ",", ".", ";", NOTHING)
    return {token: index for index, token in enumerate((*marks, *words, *ARITY, *LETTERS))}


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Returns a word-level tokenizer: words and punctuation marks are tokens; decoding joins them with blanks."""
    tokenizer = Tokenizer(models.WordLevel(vocabulary(), unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\w+|[^\w\s]"), "removed", invert=True)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        unk_token=UNKNOWN,
        additional_special_tokens=[USER, ASSISTANT],
        padding_side="left",
        model_max_length=MAX_TOKENS,
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )


def render_chat(tokenizer: PreTrainedTokenizerFast, prompt: str, response: str | None = None) -> str:
    """Renders the chat as text: up to the start of the response or, with a response, to its end-of-sequence token."""
    chat = [{"role": "user", "content": prompt}]
    if response is not None:
        chat.append({"role": "assistant", "content": response})
    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=response is None)
    return cast(str, text)


def build_model() -> LlamaForCausalLM:
    """Returns a model with about 0.86 M untrained parameters, from torch's current random state."""
    tokens = vocabulary()
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokens),
            hidden_size=128,
            intermediate_size=384,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=MAX_TOKENS,
            tie_word_embeddings=True,
            pad_token_id=tokens[PAD],
            bos_token_id=tokens[BOS],
            eos_token_id=tokens[EOS],
        )
    )
    model.generation_config.max_new_tokens = MAX_NEW_TOKENS
    return model
