// Asks a server about a picture: node chat.mjs PICTURE "QUESTION". Needs `npm install openai`.
// The server is at OPENAI_BASE_URL, or on this machine; its key, if it has one, is OPENAI_API_KEY.
import { readFile } from "node:fs/promises";
import OpenAI from "openai";

const [path, question] = process.argv.slice(2);
const picture = (await readFile(path)).toString("base64");
const client = new OpenAI({
  baseURL: process.env.OPENAI_BASE_URL ?? "http://127.0.0.1:8000/v1",
  apiKey: process.env.OPENAI_API_KEY ?? "none",
});
const stream = await client.chat.completions.create({
  model: "aki",
  messages: [
    {
      role: "user",
      content: [
        { type: "image_url", image_url: { url: `data:image/jpeg;base64,${picture}` } },
        { type: "text", text: question },
      ],
    },
  ],
  temperature: 0,
  max_tokens: 256,
  stream: true,
});
for await (const chunk of stream) process.stdout.write(chunk.choices[0]?.delta.content ?? "");
process.stdout.write("\n");
