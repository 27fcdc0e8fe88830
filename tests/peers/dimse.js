// dcmjs-dimse as a peer: `node dimse.js SETTINGS.json`, a store SCP or SCU.
//
// Data sets go through it as bytes: what it receives is written as it came, what it sends is what the file holds; with
// `natural` it decodes and encodes what it sends, as it does by itself. The SCU prints a JSON object for each file: its path,
// and the status, null where none came. Exit code 1: not all succeeded; 3: there was no association.
'use strict';

const fs = require('fs');
const net = require('net');
const path = require('path');
const { createRequire } = require('module');

const settings = JSON.parse(fs.readFileSync(process.argv[2]));
const dimse = createRequire(path.join(settings.modules, 'peer.js'))('dcmjs-dimse');
const { Client, Dataset, Scp, Server, log } = dimse;
const { CEchoRequest, CStoreRequest } = dimse.requests;
const { CEchoResponse, CStoreResponse } = dimse.responses;
const { PresentationContextResult, Status } = dimse.constants;
const { Association } = dimse.association;

if (process.env.TCP_NODELAY === '1') {
  const connect = net.Socket.prototype.connect;
  net.Socket.prototype.connect = function (...words) {
    this.setNoDelay(true);
    return connect.apply(this, words);
  };
}
if (log) log.setLevel(settings.level || 'warn');

// An encoded data set that is neither decoded nor encoded.
class Raw extends Dataset {
  constructor(bytes, syntax, elements) {
    super(elements || {}, syntax);
    this.bytes = bytes;
  }
  getDenaturalizedDataset() {
    return this.bytes;
  }
  toString() {
    return `${this.bytes.length} bytes`;
  }
}

const tls = settings.tls && {
  cert: fs.readFileSync(settings.tls.cert),
  key: fs.readFileSync(settings.tls.key),
  ca: fs.readFileSync(settings.tls.ca),
  requestCert: true,
  rejectUnauthorized: true,
};

function element(number, vr, value) {
  const padded = value.length % 2 ? Buffer.concat([value, Buffer.alloc(1)]) : value;
  const head = Buffer.alloc(vr === 'OB' ? 12 : 8);
  head.writeUInt16LE(2, 0);
  head.writeUInt16LE(number, 2);
  head.write(vr, 4, 'ascii');
  if (vr === 'OB') head.writeUInt32LE(padded.length, 8);
  else head.writeUInt16LE(padded.length, 6);
  return Buffer.concat([head, padded]);
}

function part10(sopClass, sopInstance, syntax, bytes) {
  const group = Buffer.concat([
    element(1, 'OB', Buffer.from([0, 1])),
    element(2, 'UI', Buffer.from(sopClass)),
    element(3, 'UI', Buffer.from(sopInstance)),
    element(0x10, 'UI', Buffer.from(syntax)),
    element(0x12, 'UI', Buffer.from('2.25.1')),
  ]);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(group.length);
  return Buffer.concat([Buffer.alloc(128), Buffer.from('DICM'), element(0, 'UL', length), group, bytes]);
}

class Store extends Scp {
  constructor(socket, options) {
    super(socket, options);
    if (process.env.TCP_NODELAY === '1') socket.setNoDelay(true);
  }
  associationRequested(association) {
    this.association = association;
    association.setMaxPduLength(131072);
    for (const { id } of association.getPresentationContexts()) {
      const context = association.getPresentationContext(id);
      context.setResult(PresentationContextResult.Accept, context.getTransferSyntaxUids()[0]);
    }
    this.sendAssociationAccept();
  }
  createDatasetFromStoreWritableStream(stream, context, callback) {
    callback(new Raw(stream.toBuffer(), context.getAcceptedTransferSyntaxUid()));
  }
  cEchoRequest(request, callback) {
    const response = CEchoResponse.fromRequest(request);
    response.setStatus(Status.Success);
    callback(response);
  }
  cStoreRequest(request, callback) {
    const uid = request.getAffectedSopInstanceUid();
    const data = request.getDataset();
    if (!settings.status) {
      const whole = path.join(settings.folder, `${uid}.dcm`);
      const part = path.join(settings.folder, `.${uid}.part`);
      const sopClass = request.getAffectedSopClassUid();
      fs.writeFileSync(part, part10(sopClass, uid, data.getTransferSyntaxUid(), data.bytes));
      fs.renameSync(part, whole);
    }
    console.log(`${this.association.getCallingAeTitle()}: ${uid} ${data.getTransferSyntaxUid()}`);
    const response = CStoreResponse.fromRequest(request);
    response.setStatus(settings.status);
    callback(response);
  }
  associationReleaseRequested() {
    this.sendAssociationReleaseResponse();
  }
  abort(source, reason) {
    console.log(`A-ABORT ${source} ${reason}`);
  }
}

function serve() {
  const server = new Server(Store);
  server.on('networkError', (error) => console.log('network error:', error.message));
  server.listen({ host: settings.host, port: settings.port }, tls ? { securityOptions: tls } : {});
}

function load(file) {
  if (settings.natural) return Dataset.fromFile(file.path);
  const elements = { SOPClassUID: file.sop_class, SOPInstanceUID: file.sop_instance };
  const bytes = fs.readFileSync(file.path).subarray(file.offset);
  return new Raw(bytes, file.transfer_syntax, elements);
}

// One presentation context for each SOP Class and transfer syntax, as every other peer here; by itself dcmjs-dimse proposes
// implicit and explicit VR in one context, and converts to what the acceptor picks.
function exactContexts() {
  Association.prototype.addPresentationContextFromRequest = function (request) {
    const dataset = request.getDataset && request.getDataset();
    const sopClass = request.getAffectedSopClassUid();
    const syntax = dataset ? dataset.getTransferSyntaxUid() : '1.2.840.10008.1.2';
    const known = this.findPresentationContextByAbstractSyntaxAndTransferSyntax(sopClass, syntax);
    if (known !== undefined) return known;
    const id = this.addPresentationContext(sopClass);
    this.addTransferSyntaxToPresentationContext(id, syntax);
    return id;
  };
  Association.prototype.getAcceptedPresentationContextFromRequest = function (request) {
    const dataset = request.getDataset && request.getDataset();
    return this.getPresentationContexts()
      .map(({ id }) => this.getPresentationContext(id))
      .find(
        (context) =>
          context.getResult() === PresentationContextResult.Accept &&
          context.getAbstractSyntaxUid() === request.getAffectedSopClassUid() &&
          (!dataset || context.getAcceptedTransferSyntaxUid() === dataset.getTransferSyntaxUid())
      );
  };
}

// Sends some files over one association; the number of those that failed, or null without an association.
function associate(files) {
  return new Promise((resolve) => {
    const client = new Client();
    const answers = new Map();
    let established = false;
    for (const file of files) {
      const request = new CStoreRequest(load(file));
      request.on('response', (response) => answers.set(file.path, response.getStatus()));
      client.addRequest(request);
    }
    if (!files.length) {
      const echo = new CEchoRequest();
      echo.on('response', (response) => answers.set('C-ECHO', response.getStatus()));
      client.addRequest(echo);
    }
    client.on('associationAccepted', () => (established = true));
    client.on('associationRejected', (result) => console.error('rejected', JSON.stringify(result)));
    client.on('networkError', (error) => console.error('network error:', error.message));
    client.on('closed', () => {
      const names = files.length ? files.map((file) => file.path) : ['C-ECHO'];
      const found = names.map((name) => ({ file: name, status: answers.has(name) ? answers.get(name) : null }));
      if (established) for (const line of found) console.log(JSON.stringify(line));
      resolve(established ? found.filter(({ status }) => status !== 0).length : null);
    });
    client.send(settings.host, settings.port, settings.calling_ae, settings.called_ae, {
      associationLingerTimeout: 0,
      ...(tls ? { securityOptions: tls } : {}),
    });
  });
}

async function send() {
  if (!settings.natural) exactContexts();
  const byContext = new Map();
  for (const file of settings.files) {
    const key = `${file.sop_class} ${file.transfer_syntax}`;
    byContext.set(key, [...(byContext.get(key) || []), file]);
  }
  const groups = [...byContext.values()];
  let failed = 0;
  for (let first = 0; first < groups.length || first === 0; first += 64) {
    const some = await associate(groups.slice(first, first + 64).flat());
    if (some === null) process.exit(3);
    failed += some;
  }
  process.exit(failed ? 1 : 0);
}

if (settings.role === 'scp') serve();
else send();
