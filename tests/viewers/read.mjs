// Reads result objects with the code that the OHIF viewer reads them with, and prints what it finds as JSON.
// Usage: node read.mjs FOLDER, with source-*.dcm in slice order, seg-*.dcm, sr-*.dcm, pm-*.dcm; any other *.dcm is parsed.
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { cache, metaData } from "@cornerstonejs/core";
import { adaptersPMAP, adaptersSEG, adaptersSR } from "@cornerstonejs/adapters";
import dcmjs from "dcmjs";

const { DicomMessage, DicomMetaDictionary } = dcmjs.data;
dcmjs.log.setLevel("error");
console.log = console.info = console.warn = (...parts) => process.stderr.write(`${parts.join(" ")}\n`);

function bytesOf(path) {
  const buffer = readFileSync(path);
  return buffer.buffer.slice(buffer.byteOffset, buffer.byteOffset + buffer.length);
}

function parsed(path) {
  const { dict, meta } = DicomMessage.readFile(bytesOf(path));
  const dataset = DicomMetaDictionary.naturalizeDataset(dict);
  dataset._meta = DicomMetaDictionary.namifyDataset(meta);
  return dataset;
}

const folder = process.argv[2];
const names = readdirSync(folder).filter((name) => name.endsWith(".dcm")).sort();
const pathsOf = (prefix) => names.filter((name) => name.startsWith(prefix)).map((name) => join(folder, name));

const images = new Map();
for (const path of pathsOf("source-")) {
  const instance = parsed(path);
  const frames = Number(instance.NumberOfFrames ?? 1);
  for (let frame = 1; frame <= frames; frame += 1) {
    const imageId = `wadors:http://pacs/instances/${instance.SOPInstanceUID}/frames/${frame}`;
    images.set(imageId, { instance, frame });
  }
}
const imageIds = [...images.keys()];

function plane({ instance, frame }) {
  const shared = instance.SharedFunctionalGroupsSequence?.[0];
  const own = instance.PerFrameFunctionalGroupsSequence?.[frame - 1];
  const orientation = (shared?.PlaneOrientationSequence?.[0] ?? instance).ImageOrientationPatient?.map(Number);
  const position = (own?.PlanePositionSequence?.[0] ?? instance).ImagePositionPatient?.map(Number);
  const spacing = (shared?.PixelMeasuresSequence?.[0] ?? instance).PixelSpacing?.map(Number) ?? [1, 1];
  if (!orientation || !position) return undefined;
  return {
    rows: instance.Rows,
    columns: instance.Columns,
    imageOrientationPatient: orientation,
    imagePositionPatient: position,
    rowCosines: orientation.slice(0, 3),
    columnCosines: orientation.slice(3),
    rowPixelSpacing: spacing[0],
    columnPixelSpacing: spacing[1],
    pixelSpacing: spacing,
    sliceThickness: Number(instance.SliceThickness ?? 1),
    frameOfReferenceUID: instance.FrameOfReferenceUID,
  };
}

function provide(type, imageId) {
  const image = images.get(imageId);
  if (!image) return undefined;
  const { instance } = image;
  if (type === "instance") return instance;
  if (type === "imagePlaneModule") return plane(image);
  if (type === "generalImageModule" || type === "sopCommonModule")
    return { sopInstanceUID: instance.SOPInstanceUID, sopClassUID: instance.SOPClassUID };
  if (type === "generalSeriesModule") return { seriesInstanceUID: instance.SeriesInstanceUID, modality: instance.Modality };
  return undefined;
}
metaData.addProvider(provide, 1000);
const provider = { get: provide };

/** Middle of the pixels of each value in the patient, and their number. */
function centers(values) {
  const size = values.length / imageIds.length;
  const found = {};
  values.forEach((value, at) => {
    if (!value) return;
    const { rowCosines, columnCosines, imagePositionPatient, rowPixelSpacing, columnPixelSpacing, columns } = plane(
      images.get(imageIds[Math.floor(at / size)]),
    );
    const [row, column] = [Math.floor((at % size) / columns), (at % size) % columns];
    const sum = (found[value] ??= { count: 0, center: [0, 0, 0] });
    sum.count += 1;
    for (let axis = 0; axis < 3; axis += 1)
      sum.center[axis] +=
        imagePositionPatient[axis] + column * columnPixelSpacing * rowCosines[axis] + row * rowPixelSpacing * columnCosines[axis];
  });
  for (const sum of Object.values(found)) sum.center = sum.center.map((v) => v / sum.count);
  return found;
}

async function segmentation(path) {
  const read = adaptersSEG.Cornerstone3D.Segmentation.createFromDICOMSegBuffer;
  const state = await read(imageIds, bytesOf(path), { metadataProvider: provider });
  const labels = state.segMetadata.data.filter(Boolean);
  const found = {};
  for (const images of state.labelMapImages) {
    const size = images[0].getPixelData().length;
    const values = new Uint8Array(size * images.length);
    images.forEach((image, index) => values.set(image.getPixelData(), index * size));
    Object.assign(found, centers(values));
    cache.purgeCache();
  }
  return { segments: labels.map((s) => ({ number: s.SegmentNumber, label: s.SegmentLabel, color: s.rgba })), found };
}

function report(path) {
  const dataset = parsed(path);
  const byFrame = Object.fromEntries([...images].map(([imageId, { instance, frame }]) => [`${instance.SOPInstanceUID}:${frame}`, imageId]));
  const state = adaptersSR.Cornerstone3D.MeasurementReport.generateToolState(dataset, byFrame, provider);
  return Object.entries(state).flatMap(([tool, measurements]) =>
    measurements.map((m) => ({
      tool,
      finding: m.finding?.CodeMeaning,
      sites: (m.findingSites ?? []).map((s) => s.CodeMeaning),
      uid: m.TrackingUniqueIdentifier,
      points: (m.annotation?.data?.handles?.points ?? []).map((p) => [...p]),
    })),
  );
}

async function map(path) {
  const { pixelData } = await adaptersPMAP.Cornerstone3D.ParametricMap.generateToolState(imageIds, bytesOf(path), provider);
  return { count: pixelData.length, most: Math.max(...pixelData) };
}

async function attempt(read, path) {
  try {
    return await read(path);
  } catch (error) {
    return { error: String(error?.message ?? error) };
  }
}

const result = { parsed: {} };
for (const name of names) {
  const dataset = parsed(join(folder, name));
  const nameOf = [dataset.PatientName].flat().map((n) => (n && typeof n === "object" ? Object.values(n).join("=") : String(n ?? "")));
  result.parsed[name] = { modality: dataset.Modality, patient: nameOf.join(""), frames: Number(dataset.NumberOfFrames ?? 1) };
}
for (const [key, read] of [["seg", segmentation], ["sr", report], ["pm", map]]) {
  result[key] = {};
  for (const path of pathsOf(`${key}-`)) result[key][path.split("/").pop()] = await attempt(read, path);
}
process.stdout.write(JSON.stringify(result));
