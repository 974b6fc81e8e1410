// SPDX-License-Identifier: GPL-3.0-or-later
// The makers' libraries for Node, with nothing said but what to ask: keys and addresses are the environment's.
// Prints a line for each thing that was asked.

const tool = {
  name: 'count',
  description: 'Counts.',
  schema: { type: 'object', properties: { to: { type: 'integer' } }, required: ['to'] },
};

async function collect(stream, piece) {
  let text = '';
  for await (const event of stream) text += piece(event) ?? '';
  return text;
}

const libraries = {
  async openai() {
    const { default: OpenAI } = await import('openai');
    const client = new OpenAI();
    const ask = (model, more) => client.responses.create({ model, input: 'say hi', ...more });
    const messages = [{ role: 'user', content: 'say hi' }];
    const chunks = () => client.chat.completions.create({ model: 'gpt-5', messages, stream: true });
    const tools = [{ type: 'function', name: tool.name, parameters: tool.schema, strict: false }];
    return {
      whole: async () => (await ask('gpt-5')).output_text,
      stream: async () => collect(await chunks(), (it) => it.choices[0]?.delta?.content),
      tool: async () => JSON.parse((await ask('gpt-5', { tools })).output[0].arguments).to,
      refused: async () => ask('denied'),
    };
  },
  async anthropic() {
    const { default: Anthropic } = await import('@anthropic-ai/sdk');
    const client = new Anthropic();
    const request = (model, more) => ({
      model, max_tokens: 64, messages: [{ role: 'user', content: 'say hi' }], ...more,
    });
    const ask = (model, more) => client.messages.create(request(model, more));
    const tools = [{ name: tool.name, description: tool.description, input_schema: tool.schema }];
    return {
      whole: async () => (await ask('claude-x')).content[0].text,
      stream: async () => client.messages.stream(request('claude-x')).finalText(),
      tool: async () => (await ask('claude-x', { tools })).content[0].input.to,
      refused: async () => ask('denied'),
    };
  },
  async google() {
    const { GoogleGenAI } = await import('@google/genai');
    const client = new GoogleGenAI({});
    const contents = 'say hi';
    const model = 'gemini-2.5-flash';
    const functionDeclarations = [
      { name: tool.name, description: tool.description, parametersJsonSchema: tool.schema },
    ];
    const config = { tools: [{ functionDeclarations }] };
    const ask = (more) => client.models.generateContent({ model, contents, ...more });
    return {
      whole: async () => (await ask()).text,
      stream: async () =>
        collect(await client.models.generateContentStream({ model, contents }), (it) => it.text),
      tool: async () => (await ask({ config })).functionCalls[0].args.to,
      refused: async () => ask({ model: 'denied' }),
    };
  },
};

for (const [what, ask] of Object.entries(await libraries[process.argv[2]]())) {
  try {
    console.log(`${what}: ${await ask()}`);
  } catch (error) {
    console.log(`${what}: ${error.status} ${error.message}`);
  }
}
