# OpenAI's SDK for Python and LiteLLM over the real CLI, whose model says "one two three" to
# everything: real.py URL TOKEN. Exits with 0 if everything holds.
import os
import sys

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
import litellm
import openai

url, token = sys.argv[1:3]
litellm.telemetry = False
client = openai.OpenAI(base_url=url + "/v1", api_key=token, max_retries=0, timeout=60)
lite = {"api_base": url + "/v1", "api_key": token, "num_retries": 0}


def check(create, model, **more):
    messages = [{"role": "user", "content": "Count to three."}]
    done = create(model=model, messages=messages, **more)
    assert done.choices[0].message.content == "one two three", done
    assert done.usage.prompt_tokens == 1000 and done.usage.completion_tokens == 50, done.usage
    text, finishes = "", []
    for chunk in create(model=model, messages=messages, stream=True, **more):
        for choice in chunk.choices:
            text += choice.delta.content or ""
            finishes += [choice.finish_reason] if choice.finish_reason else []
    assert (text, finishes) == ("one two three", ["stop"]), (text, finishes)


check(client.chat.completions.create, "sonnet")
check(litellm.completion, "openai/sonnet", **lite)
print("all of it holds")
