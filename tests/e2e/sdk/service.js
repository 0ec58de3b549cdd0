// A service of the shop on Node's own http, instrumented the way the OpenTelemetry documentation tells: the SDK, an OTLP
// exporter over HTTP with protobuf, and the instrumentation of http, which makes a span of every call in and out and carries
// the W3C trace context. Everything about where and who is in the SDK's own OTEL_* variables.
//
// usage: node service.js URL...   (what each request is answered with the help of, in this order; none = it knows the answer)
//
// Says the port that it listens on in its first line. Understands lines on its standard input:
//   delay MILLISECONDS   take so much longer over every answer from now on
//   fail                 answer with 500, after an exception
//   call URL             ask there, too
// and ends, with all spans sent, when its input ends.
"use strict";

const { context, SpanStatusCode, trace } = require("@opentelemetry/api");
const { getRPCMetadata } = require("@opentelemetry/core");
const { OTLPTraceExporter } = require("@opentelemetry/exporter-trace-otlp-proto");
const { registerInstrumentations } = require("@opentelemetry/instrumentation");
const { HttpInstrumentation } = require("@opentelemetry/instrumentation-http");
const { detectResources, envDetector } = require("@opentelemetry/resources");
const { BatchSpanProcessor } = require("@opentelemetry/sdk-trace-base");
const { NodeTracerProvider } = require("@opentelemetry/sdk-trace-node");

const provider = new NodeTracerProvider({
  resource: detectResources({ detectors: [envDetector] }),
  spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter())],
});
provider.register();
registerInstrumentations({ instrumentations: [new HttpInstrumentation()] });

const http = require("node:http"); // after the instrumentation, as every module that is to be instrumented
const readline = require("node:readline");
const { setTimeout: sleep } = require("node:timers/promises");

const asked = process.argv.slice(2);
const fault = { delay: 0, fail: false };

/** One call to another service; resolves with its status once the answer was read. */
function ask(url) {
  return new Promise((resolve, reject) => {
    http
      .get(url, (answer) => {
        answer.resume();
        answer.on("end", () => resolve(answer.statusCode));
        answer.on("error", reject);
      })
      .on("error", reject);
  });
}

async function work(sku) {
  for (const url of asked) {
    await ask(`${url}/${sku}`);
  }
  await sleep(20 + ((sku * 13) % 41) + fault.delay); // ms, as all services of the shop
  if (fault.fail) {
    throw new RangeError(`no tariff covers item ${sku}`);
  }
}

const server = http.createServer(async (request, response) => {
  const [, resource, sku] = request.url.split("/");
  const metadata = getRPCMetadata(context.active());
  metadata.route = `/${resource}/:sku`; // what a web framework's instrumentation does; names the span
  try {
    await work(sku);
    response.statusCode = 204;
  } catch (error) {
    metadata.span.recordException(error);
    metadata.span.setStatus({ code: SpanStatusCode.ERROR, message: error.message });
    response.statusCode = 500;
  }
  response.end();
});

readline
  .createInterface({ input: process.stdin })
  .on("line", (line) => {
    const [order, value] = line.split(" ");
    if (order === "delay") {
      fault.delay = Number(value);
    } else if (order === "fail") {
      fault.fail = true;
    } else if (order === "call") {
      asked.push(value);
    } else {
      throw new Error(`unknown order: ${line}`);
    }
    console.log("done");
  })
  .on("close", () => {
    server.closeAllConnections();
    server.close(() => provider.shutdown());
  });

server.listen(0, "127.0.0.1", () => console.log(server.address().port));
