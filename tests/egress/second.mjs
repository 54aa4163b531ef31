// A server of the egress tests that speaks HTTP/2: says what it heard, and writes it down.
import { appendFileSync, readFileSync, writeFileSync } from "node:fs";
import { createSecureServer } from "node:http2";

const [log, cert, key, ready] = process.argv.slice(2);
const server = createSecureServer({ cert: readFileSync(cert), key: readFileSync(key), allowHTTP1: true }, (request, response) => {
  let length = 0;
  request.on("data", (piece) => (length += piece.length));
  request.on("end", () => {
    const host = request.headers[":authority"] ?? request.headers.host;
    const said = `h${request.httpVersion} ${host} ${request.method} ${request.url} ${length}\n`;
    appendFileSync(log, `second ${said}`);
    if (request.headers.authorization) appendFileSync(log, `authorization ${host} ${request.headers.authorization}\n`);
    response.end(request.url.startsWith("/big/") ? "x".repeat(Number(request.url.slice(5))) : said);
  });
});
server.listen(8443, "::", () => writeFileSync(ready, ""));
