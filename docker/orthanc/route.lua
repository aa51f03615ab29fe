-- Routes dermoscopy to DermaNode: each series when Orthanc calls it stable, over one association.
-- In Orthanc's configuration: "LuaScripts": [".../route.lua"], and under "DicomModalities" a modality called "dermanode".

local ROUTED = { DMS = true, XC = true }  -- Dermoscopy; External-camera Photography

function OnStableSeries(seriesId, tags, metadata)
  local instances = ParseJson(RestApiGet('/series/' .. seriesId))['Instances']
  local from = RestApiGet('/instances/' .. instances[1] .. '/metadata/RemoteAET')
  if ROUTED[tags['Modality']] and from ~= 'DERMANODE' then
    -- SendToModality() takes no series; the REST interface does.
    RestApiPost('/modalities/dermanode/store', seriesId)
  end
end
