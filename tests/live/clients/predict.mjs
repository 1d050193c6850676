// Node's fetch and its older http module: node predict.mjs GATEWAY BODY TIMES
import http from "node:http";

const [gateway, body, times] = process.argv.slice(2);
const headers = { "Content-Type": "application/json" };

for (let time = 0; time < Number(times); time++) {
  const answer = await fetch(`${gateway}/predict`, { method: "POST", headers, body });
  console.log(answer.status, await answer.text());
}
const offering = { ...headers, Connection: "Upgrade", Upgrade: "h2c" };
await Promise.all(
  Array.from({ length: Number(times) }, () => new Promise((resolve, reject) => {
    const call = http.request(`${gateway}/predict`, { method: "POST", headers: offering }, (answer) => {
      let said = "";
      answer.on("data", (part) => (said += part));
      answer.on("end", () => resolve(console.log(answer.statusCode, said)));
    });
    call.on("error", reject);
    call.write(body.slice(0, 5));
    call.end(body.slice(5));
  })),
);
