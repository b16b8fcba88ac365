// OHIF opens a study, lays every segmentation over the images and shows the series of ?side= beside them. It runs unchanged; commands are its own.
(function () {
  const results = {
    id: "dicom-node.results",
    onModeEnter({ servicesManager, commandsManager }) {
      const { displaySetService, viewportGridService, cornerstoneViewportService } = servicesManager.services;
      const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
      const run = (name, options) => commandsManager.runCommand(name, options);
      const show = async () => {
        await wait(500);
        const first = viewportGridService.getActiveViewportId();
        const of = (modality) => displaySetService.getActiveDisplaySets().filter((set) => set.Modality === modality);
        for (const set of of("SEG")) run("addDisplaySetAsLayer", { viewportId: first, displaySetInstanceUID: set.displaySetInstanceUID });
        const [side] = of(new URLSearchParams(location.search).get("side"));
        if (side) {
          await wait(4000);
          run("setViewportGridLayout", { numRows: 1, numCols: 2 });
          await wait(1500);
          const other = [...viewportGridService.getState().viewports.keys()].find((id) => id !== first);
          run("setDisplaySetsForViewports", {
            viewportsToUpdate: [{ viewportId: other, displaySetInstanceUIDs: [side.displaySetInstanceUID] }],
          });
        }
        const viewport = cornerstoneViewportService.getCornerstoneViewport(first);
        const middle = Math.floor(viewport.getNumberOfSlices() / 2);
        await (viewport.setImageIdIndex ? viewport.setImageIdIndex(middle) : viewport.scroll(middle));
        viewport.render();
        await wait(4000);
        const segmentations = servicesManager.services.segmentationService.getSegmentations();
        window.shown = {
          sets: displaySetService.getActiveDisplaySets().map((set) => [set.Modality, String(set.SeriesDescription ?? "")]),
          segments: segmentations.flatMap((s) => Object.values(s.segments).map((one) => one.label)),
          measurements: of("SR").flatMap((set) => (set.measurements ?? []).map((m) => (m.labels ?? []).map((l) => `${l.label}: ${l.value}`))),
        };
      };
      const changed = cornerstoneViewportService.subscribe(cornerstoneViewportService.EVENTS.VIEWPORT_DATA_CHANGED, () => {
        changed.unsubscribe();
        show();
      });
    },
  };
  const root = "/dicom-web";
  window.config = {
    routerBasename: "/",
    extensions: [results],
    modes: [],
    customizationService: [{ "ohif.tours": { $set: [] } }],
    showStudyList: true,
    maxNumberOfWebWorkers: 2,
    showWarningMessageForCrossOrigin: false,
    showCPUFallbackMessage: false,
    disableConfirmationPrompts: true,
    investigationalUseDialog: { option: "never" },
    defaultDataSourceName: "pacs",
    dataSources: [
      {
        namespace: "@ohif/extension-default.dataSourcesModule.dicomweb",
        sourceName: "pacs",
        configuration: {
          friendlyName: "PACS",
          name: "pacs",
          wadoUriRoot: root,
          qidoRoot: root,
          wadoRoot: root,
          qidoSupportsIncludeField: false,
          imageRendering: "wadors",
          thumbnailRendering: "wadors",
          enableStudyLazyLoad: true,
          supportsFuzzyMatching: false,
          supportsWildcard: true,
          omitQuotationForMultipartRequest: true,
          bulkDataURI: { enabled: true },
        },
      },
    ],
  };
})();
