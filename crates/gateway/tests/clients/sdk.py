# OpenAI's SDK for Python against a gateway: sdk.py URL TOKEN. Exits with 0 if everything holds.
import sys
import openai

url, token = sys.argv[1:3]
client = openai.OpenAI(base_url=url + "/v1", api_key=token, max_retries=0, timeout=20)


def say(text, role="user"):
    return {"role": role, "content": text}


def refused(kind, **more):
    try:
        client.chat.completions.create(model="sonnet", messages=[say("x")], **more)
    except kind as error:
        return error
    raise AssertionError(f"{more} was not refused")


names = [model.id for model in client.models.list()]
assert "sonnet" in names, names

# In one piece, with parts, and fields that are ignored.
parts = [{"type": "text", "text": "[[echo:hello "}, {"type": "text", "text": "there]]"}]
done = client.chat.completions.create(
    model="sonnet",
    messages=[say("Be brief.", "developer"), {"role": "user", "content": parts}],
    temperature=0.1,
    max_tokens=5,
    tools=[{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
)
assert done.choices[0].message.content.replace("\n", "") == "hello there", done
assert done.choices[0].finish_reason == "stop" and not done.choices[0].message.tool_calls
assert done.usage.total_tokens == 20 and done.usage.prompt_tokens_details.cached_tokens == 3

# As a stream, with its counts.
text, usage, finishes = "", None, []
for chunk in client.chat.completions.create(
    model="opus",
    messages=[say("[[echo:Здравей, свят]]")],
    stream=True,
    stream_options={"include_usage": True},
):
    usage = chunk.usage or usage
    for choice in chunk.choices:
        text += choice.delta.content or ""
        finishes += [choice.finish_reason] if choice.finish_reason else []
assert (text, finishes, usage.total_tokens) == ("Здравей, свят", ["stop"], 20), (text, finishes, usage)

# With the helper that collects a stream.
with client.chat.completions.stream(model="sonnet", messages=[say("[[echo:a b c]]")]) as stream:
    for _ in stream:
        pass
    assert stream.get_final_completion().choices[0].message.content == "a b c"

# A voice agent sends the whole history with each turn.
history = [say("You speak.", "system")]
for turn in ("[[echo:one]]", "[[echo:two]]"):
    history.append(say(turn))
    said = "".join(
        chunk.choices[0].delta.content or ""
        for chunk in client.chat.completions.create(model="haiku", messages=history, stream=True)
        if chunk.choices
    )
    history.append(say(said, "assistant"))
assert history[-1]["content"].endswith("two"), history

# Errors.
error = refused(openai.UnprocessableEntityError, n=2)
assert "n must be 1" in error.message, error.message
refused(openai.UnprocessableEntityError, logprobs=True)
refused(openai.UnprocessableEntityError, tool_choice="required", tools=[])
try:
    client.chat.completions.create(model="gpt-4", messages=[say("x")])
    raise AssertionError("an unknown model")
except openai.BadRequestError as error:
    assert "unsupported model" in error.message, error.message
try:
    openai.OpenAI(base_url=url + "/v1", api_key="wrong", max_retries=0).models.list()
    raise AssertionError("a wrong token")
except openai.AuthenticationError:
    pass
try:
    client.responses.create(model="sonnet", input="x")
    raise AssertionError("the Responses API")
except openai.NotFoundError as error:
    assert "/v1/chat/completions" in error.message, error.message

# A failed turn is not run again by the SDK's own retries, streamed or not.
retrying = client.with_options(max_retries=2)
for stream in (False, True):
    try:
        answer = retrying.chat.completions.create(
            model="sonnet", messages=[say(f"[[fail:it broke {stream}]]")], stream=stream
        )
        raise AssertionError("a failed turn")
    except openai.InternalServerError as error:
        assert "it broke" in error.message, error.message
# In the middle of a stream it is an error, not an end.
try:
    for _ in client.chat.completions.create(
        model="sonnet", messages=[say("[[echo:half]][[exit:1]]")], stream=True
    ):
        pass
    raise AssertionError("a broken stream")
except openai.APIError as error:
    assert "execution failed" in error.message, error.message

# Slower than its time-out: the retries find the same run.
slow = client.with_options(max_retries=2, timeout=0.8)
done = slow.chat.completions.create(model="sonnet", messages=[say("[[note]][[sleep:1500]][[echo:slow one]]")])
assert done.choices[0].message.content == "slow one", done

# An abort.
stream = client.chat.completions.create(
    model="sonnet", messages=[say("[[echo:first]][[hang]]")], stream=True
)
next(iter(stream))
stream.close()
print("all of it holds")
