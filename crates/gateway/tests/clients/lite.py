# LiteLLM against a gateway: lite.py URL TOKEN. Exits with 0 if everything holds.
import os
import sys

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
import litellm

url, token = sys.argv[1:3]
litellm.telemetry = False
common = {"model": "openai/sonnet", "api_base": url + "/v1", "api_key": token, "num_retries": 0}


def say(text):
    return [{"role": "user", "content": text}]


done = litellm.completion(messages=say("[[echo:hello there]]"), **common)
assert done.choices[0].message.content == "hello there", done
assert done.usage.total_tokens == 20, done.usage

text, finish = "", None
for chunk in litellm.completion(messages=say("[[echo:a b c]]"), stream=True, **common):
    text += chunk.choices[0].delta.content or ""
    finish = chunk.choices[0].finish_reason or finish
assert (text, finish) == ("a b c", "stop"), (text, finish)

try:
    litellm.completion(messages=say("[[fail:it broke]]"), **common)
    raise AssertionError("a failed turn")
except litellm.exceptions.APIError as error:
    assert "it broke" in str(error), error
except litellm.exceptions.ServiceUnavailableError as error:
    assert "it broke" in str(error), error
try:
    for _ in litellm.completion(messages=say("[[echo:half]][[exit:1]]"), stream=True, **common):
        pass
    raise AssertionError("a broken stream")
except AssertionError:
    raise
except Exception as error:
    assert "execution failed" in str(error), error
print("all of it holds")
